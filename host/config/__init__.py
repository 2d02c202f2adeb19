"""The configuration: what config.toml may say, read and checked before anything runs."""

from host.config.loading import Overrides, check_plugin_names, check_plugin_settings, load_config
from host.config.models import (
    DAYS,
    Address,
    Clusters,
    Config,
    Devices,
    Host,
    Inbox,
    Jobs,
    Mqtt,
    Paths,
    QuietHours,
    Route,
    Subscription,
)
from host.config.problems import InvalidConfig, Problem

__all__ = [
    "DAYS",
    "Address",
    "Clusters",
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
    "QuietHours",
    "Route",
    "Subscription",
    "check_plugin_names",
    "check_plugin_settings",
    "load_config",
]
