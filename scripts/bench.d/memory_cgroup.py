"""A limit of memory that the kernel enforces on a process: by a control group, or by its address space."""

import os
import pathlib
import resource
import uuid

ROOT = pathlib.Path("/sys/fs/cgroup")


class MemoryCgroup:
    """A context in which a child process can enter a control group of its own.

    The group counts the pages of files that were read as well; they are given back before anything is killed. Where no group can be
    made, `address_space` limits what the process can map, which is more than it uses.
    """

    def __init__(self, kind, folder, limit):
        self.kind, self.folder, self.limit = kind, folder, limit

    @classmethod
    def of(cls, limit):
        """The best that this machine lets us have."""
        own = dict(line.split(":", 2)[1:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
        name = f"cascade-bench-{uuid.uuid4().hex[:8]}"
        candidates = [
            ("cgroup v2", ROOT / own.get("", "/").lstrip("/"), "memory.max"),
            ("cgroup v1", ROOT / "memory" / own.get("memory", "/").lstrip("/"), "memory.limit_in_bytes"),
            ("cgroup v1", ROOT / "memory", "memory.limit_in_bytes"),
        ]
        for kind, parent, file in candidates:
            folder = parent / name
            if not (parent / "cgroup.procs").exists():
                continue
            try:
                folder.mkdir()
            except OSError:
                continue
            try:
                (folder / file).write_text(str(limit))
                return cls(kind, folder, limit)
            except OSError:
                folder.rmdir()
        return cls("address space", None, limit)

    def __enter__(self):
        return self

    def enter(self):
        """Puts the calling process, a child before it runs its program, under the limit."""
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        else:
            resource.setrlimit(resource.RLIMIT_AS, (self.limit, self.limit))

    def __exit__(self, *_):
        if self.folder:
            self.folder.rmdir()
