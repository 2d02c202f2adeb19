"""The configuration: what config.toml may say, read and checked before anything runs."""

from host.config.loading import Overrides, check_plugin_names, check_plugin_settings, load_config
from host.config.models import Config, Devices, Host, Inbox, Jobs, Paths, Route
from host.config.problems import InvalidConfig, Problem

__all__ = [
    "Config",
    "Devices",
    "Host",
    "Inbox",
    "InvalidConfig",
    "Jobs",
    "Overrides",
    "Paths",
    "Problem",
    "Route",
    "check_plugin_names",
    "check_plugin_settings",
    "load_config",
]
