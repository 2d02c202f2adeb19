"""What [mqtt] may say, and the words in which it is refused."""

from __future__ import annotations

import pytest

from host.config import InvalidConfig, load_config


@pytest.fixture
def problem(tmp_path):
    def of(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text)
        with pytest.raises(InvalidConfig) as caught:
            load_config(path)
        return str(caught.value)

    return of


def loaded(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(path).mqtt


def test_mqtt_is_off_unless_a_broker_is_set(tmp_path):
    assert loaded(tmp_path, "").broker is None


@pytest.mark.parametrize(
    "broker", ["mqtt://localhost", "mqtt://127.0.0.1:1884", "mqtt://[::1]", "mqtts://broker.example"]
)
def test_plain_text_on_this_machine_and_tls_anywhere_are_taken(tmp_path, broker):
    address = loaded(tmp_path, f'[mqtt]\nbroker = "{broker}"').address
    assert address.port == (8883 if address.tls else 1884 if "1884" in broker else 1883)


def test_plain_text_to_another_machine_is_refused_unless_it_is_allowed_in_words(problem, tmp_path):
    line = '[mqtt]\nbroker = "mqtt://broker.example"\n'
    assert "line 2" in problem(line)
    assert "not encrypted" in problem(line)
    assert loaded(tmp_path, line + "allow_plain_text = true").address.host == "broker.example"


def test_qos_2_is_refused_with_the_reason(problem):
    said = problem('[mqtt]\n[[mqtt.subscribe]]\ntopic = "a"\nqos = 2')
    assert "line 4" in said
    assert "before the message is stored" in said


def test_the_embedded_broker_knows_no_shared_subscriptions(problem, tmp_path):
    shared = '[mqtt]\nbroker = "embedded"\n[[mqtt.subscribe]]\ntopic = "$share/hosts/a/#"\n'
    assert "knows no shared subscriptions" in problem(shared)
    assert loaded(tmp_path, shared.replace("embedded", "mqtt://localhost")).subscribe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('broker = "http://x"', 'should be "embedded", "mqtt://host:1883"'),
        ('broker = "mqtts://me:secret@x"', "SENSORIUM_MQTT_PASSWORD"),
        ('broker = "mqtt://localhost:99999"', "port"),
        ('broker = "mqtt://localhost/path"', "should be"),
        ('client_id = "a b"', "client_id"),
        ('[[mqtt.subscribe]]\ntopic = "a/#/b"', "the last level"),
        ('[[mqtt.subscribe]]\ntopic = "a"\nqos = 3', "qos"),
        ("[[mqtt.subscribe]]\nqos = 1", "`mqtt.subscribe.topic` is missing"),
    ],
)
def test_each_mistake_is_told_where_it_stands(problem, text, words):
    assert words in problem(f"[mqtt]\n{text}")


def test_a_password_is_not_shown_in_the_complaint(problem):
    assert "secret" not in problem('[mqtt]\nbroker = "mqtts://me:secret@x"')


def test_user_and_password_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_MQTT_USER", "me")
    monkeypatch.setenv("SENSORIUM_MQTT_PASSWORD", "secret")
    assert loaded(tmp_path, "").credentials() == ("me", "secret")
