"""A full disk is named, whoever could not write; on a small one, in a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from serving.runtime.errors import InputError
from serving.runtime.output import full_disk_named

WRITE = {
    "file": "with whole_file(disk / 'x') as file: file.write_bytes(bytes(4 << 20))",
    "folder": "with whole_folder(disk / 'x') as folder: (folder / 'y').write_bytes(bytes(4 << 20))",
    "torch": "with whole_folder(disk / 'x') as folder: import torch; torch.save(torch.zeros(1 << 20), folder / 'y.pt')",
    "temporary": "with whole_file(Path('x')), tempfile.TemporaryFile(dir=disk) as file: file.write(bytes(4 << 20))",
}


@pytest.mark.parametrize("what", WRITE)
def test_the_disk_is_named(what: str, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    (tmp_path / "disk").mkdir()
    head, _, body = WRITE[what].partition(": ")
    lines = [f"import os, tempfile; sys_disk = {str(tmp_path / 'disk')!r}", "from pathlib import Path"]
    lines += ["from serving.runtime.output import whole_file, whole_folder", "disk = Path(sys_disk)"]
    lines += ["tempfile.tempdir = sys_disk"] if what == "temporary" else []
    script = "\n".join([*lines, f"{head}:\n    {body}"])
    command = f"mount -t tmpfs -o size=2m tmpfs disk && exec {sys.executable} -c '{script.replace(chr(39), chr(34))}'"
    environment = {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    last = ended.stderr.splitlines()[-1]
    free = "2.0" if what == "temporary" else "0.0"  # which the system removes when it is closed
    assert last.startswith(f"serving.runtime.errors.StorageError: {tmp_path}/disk: the disk is full: {free} of 2.0 MiB")
    assert last.endswith("are free now; free some space there, or name a place on another disk")


@pytest.mark.parametrize("error", [RuntimeError("x"), FileNotFoundError(2, "x", "y"), InputError("x"), KeyError("x")])
def test_other_errors_pass(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, full_disk_named(tmp_path):
        raise error
    assert raised.value is error
