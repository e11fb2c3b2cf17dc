"""Container images without a registry: a Debian base, busybox, and the project's own from images/Dockerfile.

An image is an archive in the cache, named by a hash of the content of all that goes into it, wherever that lies: the same
hash means nothing to do. The cluster is sent only the layers that it lacks.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def build(names: Sequence[str]) -> dict[str, Path]:
    """Build the images whose archives are not there, at the same time, and return the archives."""
    archives = {name: _ARCHIVES / f"{name}-{_key(name)}.tar" for name in names}
    due = [name for name, archive in archives.items() if not archive.exists()]
    if due:
        _ARCHIVES.mkdir(parents=True, exist_ok=True)
        with step(f"images: {', '.join(due)}"), _storage():
            if "busybox" in due:
                _build_busybox()
            _build_project([name for name in due if name in PROJECT])
            for name in due:
                _archive(name, archives[name])
    return archives


def _archive(name: str, archive: Path) -> None:
    fresh = archive.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    _buildah("push", reference(name), f"docker-archive:{fresh}:{reference(name)}")
    for old in _ARCHIVES.glob(f"{name}-*.tar"):
        old.unlink()
    fresh.rename(archive)


def load(name: str, archive: Path) -> None:
    """Bring an image to the cluster unless it has just that."""
    mark = STATE / "images" / name
    if mark.exists() and mark.read_text() == archive.name:
        return
    wait_until(lambda: bool(ctr("version", quiet=True)), "containerd answers", 30)
    with step(f"load image {name}"):
        _import(name, archive)
        if name in PROJECT:  # as the chart names it, for the commands of docs/kubernetes.md
            ctr("image", "tag", "--force", reference(name), f"docker.io/library/perfbench-{name}:{chart_version()}")
    mark.parent.mkdir(exist_ok=True)
    mark.write_text(archive.name)


def describe(name: str, archive: Path) -> str:
    """Return name and size of an image, for a project image also how much it adds to its base."""
    with tarfile.open(archive) as tar:
        layers = [layer.size for layer in _contents(tar)[1:]]  # uncompressed, lowest (the base) first
    size = f"{reference(name)}: {sum(layers) / 1e6:.0f} MB"
    return f"{size}, {sum(layers[1:]) / 1e6:.0f} MB over its base" if name in PROJECT else size


def _contents(tar: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """An archive's configuration and layers, whose names are their digests."""
    manifest = tar.extractfile("manifest.json")
    if manifest is None:
        raise ClusterError(f"{tar.name!r} is no image archive: delete it")
    [image] = json.load(manifest)
    # Buildah writes a layer that occurs twice, such as an empty one, as a link.
    return [tar.getmember(member) for member in (image["Config"], *image["Layers"])]


def _import(name: str, archive: Path) -> None:
    """Send containerd an image, without the layers that it has from others."""
    there = set(ctr("content", "ls", "--quiet").split())
    command = ("ctr", "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", "image", "import", "-")
    with (
        tarfile.open(archive) as source,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        # Where it ends early, it says why.
        with contextlib.suppress(BrokenPipeError), process.stdin, tarfile.open(fileobj=process.stdin, mode="w|") as tar:
            _write_layout(tar, source, reference(name), there)
        said = process.stderr.read().decode(errors="replace")
    if process.returncode:
        raise ClusterError(f"`ctr image import` failed ({process.returncode}):\n{said[-3000:].strip()}")


def _write_layout(tar: tarfile.TarFile, source: tarfile.TarFile, image: str, there: Collection[str]) -> None:
    """Write an OCI image layout, in which blobs may be missing that are there."""
    kind = "application/vnd.oci.image"
    config, *layers = ({"digest": f"sha256:{Path(one.name).stem}", "size": one.size} for one in _contents(source))
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": f"{kind}.config.v1+json", **config},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **layer} for layer in layers],
    }
    text = json.dumps(manifest).encode()
    digest = hashlib.sha256(text).hexdigest()
    named = {
        "mediaType": f"{kind}.manifest.v1+json",
        "digest": f"sha256:{digest}",
        "size": len(text),
        "annotations": {"io.containerd.image.name": image},
    }
    _add(tar, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
    _add(tar, f"blobs/sha256/{digest}", text)
    for member in dict.fromkeys(_contents(source)):
        blob = Path(member.name).stem
        if f"sha256:{blob}" not in there:
            head = tarfile.TarInfo(f"blobs/sha256/{blob}")
            head.size = member.size
            tar.addfile(head, source.extractfile(member))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    head = tarfile.TarInfo(name)
    head.size = len(content)
    tar.addfile(head, io.BytesIO(content))


# Keys


def _key(name: str) -> str:
    if name == "busybox":
        return _hash([Path("/bin/busybox"), Path(__file__)])
    if name not in PROJECT:
        raise ClusterError(f"no image '{name}'; there are: {', '.join(NAMES)}")
    return _hash(list(_sources()), salt=f"{name} {_BASE}")


def _sources() -> Iterator[Path]:
    """The files that go into the project's images."""
    for source in _SOURCES:
        path = REPOSITORY / source
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (file for file in files if file.is_file() and "__pycache__" not in file.parts)


def _hash(files: Iterable[Path], salt: str = "") -> str:
    digest = hashlib.sha256(salt.encode())
    for file in files:
        # Not where the checkout lies: another clone has the same images.
        name = file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file
        digest.update(f"{name}\0{file.stat().st_mode & 0o777:o}\0{file.stat().st_size}\0".encode() + file.read_bytes())
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


def _build_project(names: Sequence[str]) -> None:
    if not names:
        return
    if len(_buildah("images", "--all", "--quiet").split()) > _LAYERS_KEPT:
        _buildah("rmi", "--prune", "--force")  # what has no name: layers of earlier builds
    _ensure_base()
    with _context() as folder, ThreadPoolExecutor() as pool:
        _build_target("project", folder, "localhost/perfbench-project")  # both have it
        list(pool.map(lambda name: _build_target(name, folder, reference(name)), names))


def _build_target(target: str, folder: Path, tag: str) -> None:
    # The machine's way to its package registry: certificates and, if any, pip's settings.
    machine_files = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf")]
    mounts = [part for file in machine_files if file.exists() for part in ("-v", f"{file}:{file}:ro")]
    images = folder / "images"
    _buildah(
        *("build", "--isolation", "chroot", "--layers", "--pull-never", "--build-arg", f"BASE={_BASE}", *mounts),
        *("--file", images / "Dockerfile", "--ignorefile", images / "Dockerfile.dockerignore"),
        *("--target", target, "--tag", tag, folder),
    )


@contextlib.contextmanager
def _context() -> Iterator[Path]:
    """A copy of what goes in, with the same times always: layers of one checkout are those of another."""
    folder = _temporary() / "context"
    shutil.rmtree(folder, ignore_errors=True)
    for source in _sources():
        copy = folder / source.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (0, 0))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
