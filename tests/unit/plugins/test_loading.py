"""Plugins of the user's own are loaded from files, modules and entry points, and mistakes are named in one line."""

import sys
from pathlib import Path

import pytest

from perfbench_plugins.blame import blame
from perfbench_plugins.loading import load_entry_points, load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError

HEAD = (
    "from perfbench_plugins.datasets.base import DatasetPluginBase\n"
    "from perfbench_plugins.registry import register_dataset\n"
)
PLUGIN = "class Mine(DatasetPluginBase):\n    def build_messages(self):\n        yield 'a'\n"


@pytest.fixture(autouse=True)
def own_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers, imports or puts on the path is gone after it."""
    for registry in (ApiRegistry, DatasetRegistry):
        monkeypatch.setattr(registry, "entries", dict(registry.entries))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_file_registers_its_plugins_once_however_often_it_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", f"{HEAD}@register_dataset('mine')\n{PLUGIN}")
    load_plugins([str(file), str(file), str(tmp_path / "." / "mine.py")])
    entry = DatasetRegistry.entries["mine"]
    assert (entry.builtin, entry.package, entry.origin) == (False, None, f"{file}:Mine")


def test_two_files_of_the_same_name_are_two_modules(tmp_path: Path) -> None:
    for name in ("a", "b"):
        file = write(tmp_path / name / "mine.py", f"{HEAD}@register_dataset('mine_{name}')\n{PLUGIN}")
        load_plugins([str(file)])
    assert DatasetRegistry.get_class("mine_a") is not DatasetRegistry.get_class("mine_b")


def test_a_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "module_of_mine.py", f"{HEAD}@register_dataset('of_module')\n{PLUGIN}")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins(["module_of_mine"])
    assert DatasetRegistry.get_class("of_module").__module__ == "module_of_mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", "line 1: SyntaxError: invalid syntax"),
        ("x = 1\nimport no_such\n", "line 2: ModuleNotFoundError: No module named 'no_such'"),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", "line 2: ValueError: a b"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        ("from helper_of_mine import f\nf()\n", "line 2: KeyError: 'deep'"),
        (
            f"{HEAD}\n@register_dataset('x')\nclass A: pass\n",
            "line 4: dataset plugin 'x' ({file}:A) has no build_messages",
        ),
    ],
)
def test_a_broken_file_is_told_with_file_and_line(text: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "helper_of_mine.py", "def f():\n    {}['deep']\n")
    file = write(tmp_path / "mine.py", text)
    with pytest.raises(PluginError) as caught:
        load_plugins([str(file)])
    assert str(caught.value) == f"plugin file {file} {words.format(file=file)}"
    sys.modules.pop("helper_of_mine", None)


def test_a_broken_file_can_be_loaded_once_it_is_mended(tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", "1 +\n")
    with pytest.raises(PluginError):
        load_plugins([str(file)])
    write(file, f"{HEAD}@register_dataset('mended_and_longer')\n{PLUGIN}")
    load_plugins([str(file)])
    assert DatasetRegistry.get_class("mended_and_longer")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/nowhere/mine.py", "plugin file /nowhere/mine.py does not exist"),
        ("no_such_module", "plugin module no_such_module: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_what_is_not_there_is_named(source: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        load_plugins([source])
    assert str(caught.value) == words


def installed(folder: Path, module: str, points: str) -> None:
    """A distribution with entry points, as pip leaves it."""
    info = folder / f"{module}-1.0.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    write(info / "entry_points.txt", points)
    sys.path.insert(0, str(folder))


def test_entry_points_register_under_their_own_name_with_their_package(tmp_path: Path) -> None:
    write(tmp_path / "package_a.py", HEAD + PLUGIN)
    installed(tmp_path, "package_a", "[perfbench.datasets]\nfrom_package = package_a:Mine\n")
    load_entry_points()
    entry = DatasetRegistry.entries["from_package"]
    assert (entry.package, entry.plugin.__name__) == ("package_a", "Mine")


def test_a_class_that_registers_itself_too_is_no_conflict(tmp_path: Path) -> None:
    write(tmp_path / "package_b.py", f"{HEAD}@register_dataset('twice')\n{PLUGIN}")
    installed(tmp_path, "package_b", "[perfbench.datasets]\ntwice = package_b:Mine\n")
    load_entry_points()
    load_entry_points()
    assert DatasetRegistry.entries["twice"].package == "package_b"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere_at_all:A", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("package_c:Nothing", "AttributeError: module 'package_c' has no attribute 'Nothing'"),
    ],
)
def test_a_broken_entry_point_names_the_package(value: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "package_c.py", "")
    installed(tmp_path, "package_c", f"[perfbench.apis]\nbroken = {value}\n")
    with pytest.raises(PluginError) as caught:
        load_entry_points()
    assert str(caught.value) == f"API plugin 'broken' of package package_c ({value}): {words}"


def test_blame_names_the_innermost_line_of_the_plugins_own_file() -> None:
    try:
        fall_down()
    except KeyError as error:
        words = blame(type("Plugin", (), {"__module__": __name__}), error)
    assert words.endswith(": KeyError: 'x'")
    assert blame("elsewhere.py", KeyError("x")) == "elsewhere.py: KeyError: 'x'"


def fall_down() -> None:
    raise KeyError("x")
