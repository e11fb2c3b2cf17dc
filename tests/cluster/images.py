"""Container images without a registry: a Debian base, busybox, and the project's own from images/Dockerfile.

An image is an archive in the cache, named by a hash of all that goes into it; the same hash means nothing to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from components import CONTAINERD_SOCKET
from machine import CACHE, REPOSITORY, STATE, ClusterError, run, step, wait_until

PROJECT = ("runner", "operator")
NAMES = ("busybox", *PROJECT)
_ARCHIVES = CACHE / "images"
_SUITE = "bookworm"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_BASE = f"localhost/perfbench-base:{hashlib.sha256(f'{_SUITE} {_BASE_PACKAGES} 1'.encode()).hexdigest()[:12]}"
_LAYERS_KEPT = 60  # every build of changed code leaves two of up to 150 MB and some small ones
# What goes into the project's images; README and licence because the wheel has them.
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "operator", "runner", "plugins", "crds", "images")


def reference(name: str) -> str:
    """Return the full name of an image; pods may leave docker.io/library/ out."""
    return f"docker.io/library/{name if name == 'busybox' else f'perfbench-{name}'}:test"


def chart_version() -> str:
    """The chart's appVersion: the tag of the images that it takes by default."""
    lines = (REPOSITORY / "charts" / "perfbench" / "Chart.yaml").read_text().splitlines()
    return next(line.partition(":")[2].strip().strip('"') for line in lines if line.startswith("appVersion:"))


def ctr(*arguments: str | Path, quiet: bool = False) -> str:
    return run("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", *arguments, quiet=quiet)


def build(name: str) -> Path:
    """Build an image unless its archive is there and return the archive."""
    key = _key(name)
    archive = _ARCHIVES / f"{name}-{key}.tar"
    if archive.exists():
        return archive
    _ARCHIVES.mkdir(parents=True, exist_ok=True)
    with step(f"image {name}"), _storage():
        _build_busybox() if name == "busybox" else _build_project(name)
        fresh = archive.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        _buildah("push", reference(name), f"docker-archive:{fresh}:{reference(name)}")
    for old in _ARCHIVES.glob(f"{name}-*.tar"):
        old.unlink()
    fresh.rename(archive)
    return archive


def load(name: str, archive: Path) -> None:
    """Load an archive into the cluster unless it is what the cluster has."""
    mark = STATE / "images" / name
    if mark.exists() and mark.read_text() == archive.name:
        return
    wait_until(lambda: bool(ctr("version", quiet=True)), "containerd answers", 30)
    with step(f"load image {name}"):
        ctr("image", "import", archive)
        if name in PROJECT:  # as the chart names it, for the commands of docs/kubernetes.md
            ctr("image", "tag", "--force", reference(name), f"docker.io/library/perfbench-{name}:{chart_version()}")
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(archive.name)


def describe(name: str, archive: Path) -> str:
    """Return name and size of an image, for a project image also how much it adds to its base."""
    layers = _layers(archive)
    size = f"{reference(name)}: {sum(layers) / 1e6:.0f} MB"
    return f"{size}, {sum(layers[1:]) / 1e6:.0f} MB over its base" if name in PROJECT else size


def _layers(archive: Path) -> list[int]:
    """Return the layers' sizes in bytes, uncompressed, lowest (the base) first."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        if manifest is None:
            raise ClusterError(f"{archive} is no image archive: delete it")
        # Buildah writes a layer that occurs twice, such as an empty one, as a link.
        return [tar.getmember(layer).size for layer in json.load(manifest)[0]["Layers"]]


# Keys


def _key(name: str) -> str:
    if name == "busybox":
        return _hash([Path("/bin/busybox"), Path(__file__)])
    if name not in PROJECT:
        raise ClusterError(f"no image '{name}'; there are: {', '.join(NAMES)}")
    files = [file for source in _SOURCES for file in _files(REPOSITORY / source)]
    return _hash(files, salt=f"{name} {_BASE}")


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def _hash(files: Iterable[Path], salt: str = "") -> str:
    digest = hashlib.sha256(salt.encode())
    for file in files:
        digest.update(f"{file}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


# Building


def _buildah(*arguments: str | Path) -> str:
    storage = CACHE / "buildah"
    # Layers of the vfs driver are whole copies; overlay is there on every kernel that can run containerd.
    driver = ("--storage-driver", "overlay", "--root", storage / "root", "--runroot", storage / "run")
    return run("buildah", *driver, *arguments, env={"TMPDIR": str(_temporary())})


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    """Leave no container of a build that failed, and no mount."""
    try:
        yield
    finally:
        _buildah("rm", "--all")
        run("umount", CACHE / "buildah" / "root" / "overlay", quiet=True)


def _temporary() -> Path:
    folder = CACHE / "buildah" / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _from_tar(tar: Path, name: str, *settings: str) -> None:
    """Make an image of one layer."""
    container = _buildah("from", "scratch").strip()
    _buildah("add", container, tar, "/")
    _buildah("config", *settings, container)
    _buildah("commit", "--quiet", container, name)


def _build_busybox() -> None:
    """One static program is sandbox, shell, client and server for the tests."""
    root = _temporary() / "busybox"
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in run("/bin/busybox", "--list").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
    (root / "tmp").chmod(0o1777)
    tar = root.with_suffix(".tar")
    with tarfile.open(tar, "w") as archive:
        archive.add(root, ".")
    # Endless when nothing else is asked of it: that is all a pod's sandbox does.
    _from_tar(tar, reference("busybox"), "--cmd", '["/bin/sleep", "2147483647"]', "--env", "PATH=/bin")


def _ensure_base() -> None:
    if _BASE in _buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    with step(f"base image, Debian {_SUITE}"):
        tar = _temporary() / "base.tar"
        trimmed = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")]
        run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_PACKAGES}", *trimmed, _SUITE, tar)
        _from_tar(tar, _BASE, "--cmd", '["python3"]', "--env", "PATH=/usr/local/bin:/usr/bin:/bin")
        tar.unlink()


def _build_project(name: str) -> None:
    if len(_buildah("images", "--all", "--quiet").split()) > _LAYERS_KEPT:
        _buildah("rmi", "--prune", "--force")  # what has no name: layers of earlier builds
    _ensure_base()
    # The machine's way to its package registry: certificates and, if any, pip's settings.
    machine_files = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf")]
    mounts = [part for file in machine_files if file.exists() for part in ("-v", f"{file}:{file}:ro")]
    _buildah(
        *("build", "--isolation", "chroot", "--layers", "--pull-never", "--build-arg", f"BASE={_BASE}", *mounts),
        *(
            "--file",
            REPOSITORY / "images" / "Dockerfile",
            "--ignorefile",
            REPOSITORY / "images" / "Dockerfile.dockerignore",
        ),
        *("--target", name, "--tag", reference(name), REPOSITORY),
    )
