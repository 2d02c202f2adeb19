"""The configuration: what config.toml may say, read and checked before anything runs."""

from host.config.loading import Overrides, check_plugin_names, check_plugin_settings, load_config
from host.config.models import Address, Config, Devices, Host, Inbox, Jobs, Mqtt, Paths, Route, Subscription
from host.config.problems import InvalidConfig, Problem

__all__ = [
    "Address",
    "Config",
    "Devices",
    "Host",
    "Inbox",
    "InvalidConfig",
    "Jobs",
    "Mqtt",
    "Overrides",
    "Paths",
    "Problem",
    "Route",
    "Subscription",
    "check_plugin_names",
    "check_plugin_settings",
    "load_config",
]
