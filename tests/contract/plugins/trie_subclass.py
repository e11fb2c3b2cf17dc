"""Agents' work of another file."""

from evalscope.perf.plugin.datasets.trie import TrieAgenticCodingPlugin
from evalscope.perf.plugin.registry import register_dataset


@register_dataset("my_trie")
class MyTrie(TrieAgenticCodingPlugin):
    pass
