"""Names that no honest checkpoint has: functions that run code or programs, or reach files and the network.

A name outside of our stand-ins is never imported and never called, whatever it is, so nothing depends on this list for
safety. It decides what a person is told: a file that names one of these would harm whoever loads it with other tools,
and its numbers are those of a file that somebody has tampered with.
"""

from __future__ import annotations

from bnsharp_cli.io.containers.description import LONGEST_NAME

_MODULES = {
    "_ctypes", "_pickle", "_posixsubprocess", "_winapi", "bdb", "cPickle", "code", "codeop", "commands", "ctypes",
    "imp", "importlib", "marshal", "nt", "pdb", "pickle", "pip", "popen2", "pty", "pydoc", "runpy", "shutil", "socket",
    "sys", "timeit", "webbrowser", "zipimport",
}  # fmt: skip
_ANYWHERE = {"os", "posix", "subprocess"}
"""Modules that others import too, so that they can be named as a part of these."""

_BUILTINS = {
    "__build_class__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "execfile", "exit", "file",
    "globals", "input", "locals", "open", "quit", "raw_input", "reload", "setattr", "vars",
}  # fmt: skip
_FUNCTIONS = {
    "_io.FileIO", "_io.open", "_io.open_code", "codecs.open", "io.FileIO", "io.open", "io.open_code", "numpy.load",
    "numpy.testing._private.utils.runstring", "torch.load", "torch.serialization.load",
}  # fmt: skip
_PACKAGES = ("torch.hub.", "torch.utils.cpp_extension.")


def is_dangerous(name: str) -> bool:
    """Whether a full name is one of these.

    >>> [is_dangerous(name) for name in ("posix.system", "torch.serialization.os.system", "omegaconf.DictConfig")]
    [True, True, False]
    """
    *modules, function = name.split(".")
    return (
        name in _FUNCTIONS
        or name.startswith(_PACKAGES)
        or (bool(modules) and modules[0] in _MODULES)
        or not _ANYWHERE.isdisjoint(modules)
        or (modules[-1:] in (["builtins"], ["__builtins__"]) and function in _BUILTINS)
    )


def may_be_mentioned(name: str) -> bool:
    """Whether a file that names something outside of our stand-ins is read, and it is not."""
    return len(name) <= LONGEST_NAME and not is_dangerous(name)
