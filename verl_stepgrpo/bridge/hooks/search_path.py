"""Makes the config groups ``+stepgrpo=NAME`` known to Hydra under the stock command."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

CONFIG_PACKAGE = "pkg://verl_stepgrpo.bridge.conf"


class StepGRPOSearchPath(SearchPathPlugin):
    """Appends this package's config folder to the search path of a Hydra application."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="verl-stepgrpo", path=CONFIG_PACKAGE)


def register() -> None:
    """Add the plugin to Hydra's registry, once."""
    plugins = Plugins.instance()
    if StepGRPOSearchPath not in plugins.discover(SearchPathPlugin):
        plugins.register(StepGRPOSearchPath)
