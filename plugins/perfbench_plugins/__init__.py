"""APIs to speak to and datasets to send: the plugin contract, the registry, and the plugins that come with perfbench.

Imports from `evalscope` find ours from here on, where EvalScope itself is not installed.
"""

from perfbench_plugins import evalscope

evalscope.install()
