"""`sensorium doctor`: each check sees what it is for."""

import os
import re
import resource
import sqlite3
import types

import pytest
from pydantic import TypeAdapter

from hooks import ModelSpec
from hooks.worker import plugin_manager
from host.cli import checks
from host.config import Config, Devices, Inbox, Mqtt, Paths
from host.plugin_manager import Plugin, PluginRegistry, Unusable
from host.views import Check
from tests.mosquitto import mosquitto, password_lines


@pytest.fixture
def config(here):
    (here / "inbox").mkdir()
    return Config()


@pytest.fixture
def network(monkeypatch, here):
    """The folder `far` lies on a network mount."""
    mounts = [
        types.SimpleNamespace(mountpoint="/", fstype="ext4"),
        types.SimpleNamespace(mountpoint=str(here / "far"), fstype="nfs4"),
    ]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounts)
    (here / "far").mkdir()
    return here / "far"


@pytest.fixture
def limits(monkeypatch, tmp_path):
    def limits(watches: int, instances: int) -> None:
        folder = tmp_path / "inotify"
        folder.mkdir()
        (folder / "max_user_watches").write_text(f"{watches}\n")
        (folder / "max_user_instances").write_text(f"{instances}\n")
        monkeypatch.setattr(checks, "INOTIFY", folder)

    return limits


def plugin(files=()):
    return Plugin(
        name="eye", version="1.0", distribution="sight", module="eye", hooks=frozenset(), settings={},
        spec=ModelSpec(name="iris", files=files), has_model=True, manager=plugin_manager(),
    )  # fmt: skip


# --- the command ---


def test_a_machine_on_which_all_is_well_ends_with_0(cli, config):
    ended = cli("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert "data ok" in ended.flat


def test_something_that_needs_attention_ends_with_1_and_says_what_to_do(cli, config, monkeypatch):
    monkeypatch.setattr(checks, "ROOM", 10**18)
    ended = cli("doctor")
    assert ended.code == 1
    assert "free space attention" in ended.flat
    assert "Make room on that disk" in ended.flat
    assert re.search(r"1 of \d+ checks need attention\.", ended.err)


def test_as_json_it_has_the_documented_shape(cli, config, monkeypatch):
    monkeypatch.setattr(checks, "ROOM", 10**18)
    ended = cli("doctor", "--json")
    found = TypeAdapter(list[Check]).validate_json(ended.out)
    assert ended.code == 1
    assert [check.name for check in found if not check.ok] == ["free space"]


def test_it_sees_a_host_that_runs(cli, host, here):
    (here / "inbox").mkdir()
    assert "host ok runs (process 4711)" in cli("doctor").flat


def test_it_shows_mistakes_in_the_settings_of_plugins(cli, config, here):
    (here / "config.toml").write_text('[plugins.clip]\nmodle = "x"\n')
    ended = cli("doctor")
    assert ended.code == 1
    assert "settings attention line 2: `modle` is not a setting of [plugins.clip]; did you mean `model`?" in ended.flat


def test_it_leaves_no_trace(cli, config, here):
    cli("doctor")
    assert [path.name for path in here.iterdir()] == ["inbox"]


# --- the checks ---


def test_a_data_directory_that_cannot_be_written_to_is_found(config, here, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # root, who may run the tests, is never refused
    found = checks.check_data(config)
    assert not found.ok
    assert "Permission denied" in found.found


def test_a_data_directory_on_a_network_mount_is_found(network):
    found = checks.check_data(Config(paths=Paths(data=network / "data")))
    assert not found.ok
    assert "nfs4" in found.found
    assert "local disk" in found.advice


def test_a_journal_that_is_not_there_yet_is_well(config):
    assert checks.check_journal(config).ok


def test_a_journal_that_is_whole_is_well(config):
    config.paths.data.mkdir()
    with sqlite3.connect(config.paths.data / "journal.db") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert checks.check_journal(config).ok


def test_a_journal_that_is_damaged_is_found(config):
    config.paths.data.mkdir()
    path = config.paths.data / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [("y" * 500,) for _ in range(200)])
    connection.close()
    content = bytearray(path.read_bytes())
    content[5000:9000] = os.urandom(4000)
    path.write_bytes(content)
    found = checks.check_journal(config)
    assert not found.ok
    assert "backup" in found.advice


def test_a_file_that_is_no_journal_is_found(config):
    config.paths.data.mkdir()
    (config.paths.data / "journal.db").write_text("this is not a database, " * 100)
    found = checks.check_journal(config)
    assert not found.ok
    assert "file is not a database" in found.found


def test_too_few_watches_for_the_folders_are_found(config, limits):
    for number in range(9):
        (config.inboxes[0].path / str(number)).mkdir()
    limits(12, 128)
    found = checks.check_watches(config)
    assert not found.ok
    assert found.found == "10 folders to watch; limits: 12 folders, 128 watchers"
    limits_of_flat = Config(inboxes=[Inbox(path="inbox", recursive=False)])
    assert checks.check_watches(limits_of_flat).ok


def test_too_few_watchers_for_the_inboxes_are_found(config, limits):
    limits(1000, 1)
    assert not checks.check_watches(config).ok
    assert checks.check_watches(Config(inboxes=[Inbox(path="inbox", mode="poll")])).ok


def test_a_system_without_such_limits_is_well(config, monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "INOTIFY", tmp_path / "nothing")
    assert checks.check_watches(config).ok


@pytest.mark.parametrize(("limit", "ok"), [(256, False), (1024, True), (resource.RLIM_INFINITY, True)])
def test_a_low_limit_of_open_files_is_found(config, monkeypatch, limit, ok):
    monkeypatch.setattr("resource.getrlimit", lambda what: (limit, limit))
    assert checks.check_open_files(config).ok is ok


def test_an_inbox_that_is_not_there_is_told_but_is_no_fault(here):
    found = checks.check_inbox(Inbox(path="nowhere"))
    assert found.ok
    assert "not there" in found.found


@pytest.mark.parametrize(
    ("after", "allowed", "ok"),
    [("remove", os.R_OK | os.X_OK, False), ("keep", os.R_OK | os.X_OK, True), ("keep", 0, False)],
)
def test_an_inbox_that_cannot_be_read_or_emptied_is_found(here, monkeypatch, after, allowed, ok):
    monkeypatch.setattr("os.access", lambda path, needed: needed & allowed == needed)
    assert checks.check_inbox(Inbox(path=here, after=after)).ok is ok


def test_an_inbox_on_a_network_mount_must_be_polled(network):
    watched = checks.check_inbox(Inbox(path=network))
    assert not watched.ok
    assert 'mode = "poll"' in watched.advice
    assert checks.check_inbox(Inbox(path=network, mode="poll")).ok


def test_plugins_that_cannot_be_used_are_found_and_those_switched_off_are_not():
    broken = Unusable("nose", "1.0", "smell", "it failed to import: ImportError: no olfactory bulb")
    off = Unusable("ear", "1.0", "hearing", "switched off in the configuration", disabled=True)
    (found,) = checks.check_plugins(PluginRegistry([], [broken, off]))
    assert (found.name, found.ok, found.found) == ("plugin nose", False, broken.problem)


def test_a_model_without_its_files_is_found(tmp_path):
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"")
    assert checks.check_plugins(PluginRegistry([plugin([there])], []))[0].ok
    found = checks.check_plugins(PluginRegistry([plugin([there, tmp_path / "gone.safetensors"])], []))[0]
    assert not found.ok
    assert found.found == f"sight 1.0, model iris; missing: {tmp_path}/gone.safetensors"


def test_a_gpu_that_is_switched_off_is_not_looked_for(here):
    assert checks.check_gpu(Config(devices=Devices(use_gpu=False))).found == "switched off in the configuration"


def test_a_gpu_is_told_with_its_memory(config, monkeypatch):
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "Big GPU")
    memory = types.SimpleNamespace(total=8_000_000_000, free=6_500_000_000)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: memory)
    assert checks.check_gpu(config).found == "Big GPU: 6.5 GB of 8.0 GB free"


def test_a_machine_without_a_gpu_is_well(config, monkeypatch):
    import pynvml

    def refuse():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert checks.check_gpu(config).ok


def test_the_filesystem_of_a_path_is_that_of_the_nearest_mount(network, here):
    assert checks.filesystem(network / "deep" / "down") == "nfs4"
    assert checks.filesystem(here) == "ext4"


# --- the broker ---


def test_a_broker_that_lets_us_in_is_good_and_one_that_does_not_is_told_with_what_to_do(tmp_path, monkeypatch):
    assert checks.check_broker(Mqtt()).found == "no broker is configured"
    assert checks.check_broker(Mqtt(broker="embedded")).ok
    monkeypatch.setenv("SENSORIUM_MQTT_USER", "me")
    with mosquitto(tmp_path / "broker", password_lines(tmp_path / "passwords", "me", "right")) as broker:
        monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "right")
        assert checks.check_broker(Mqtt(broker=broker.url)).ok
        monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "wrong")
        refused = checks.check_broker(Mqtt(broker=broker.url))
    assert not refused.ok
    assert "SENSORIUM_MQTT_PASSWORD" in refused.advice
    away = checks.check_broker(Mqtt(broker=broker.url))
    assert not away.ok
    assert "cannot be reached" in away.found
