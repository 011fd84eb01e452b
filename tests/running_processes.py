"""Processes of this machine by their command line."""

import psutil


def processes_with(text: str) -> dict[int, str]:
    """The command lines that contain a text, by process id; this process is left out."""
    commands = {
        process.pid: " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline"])
        if process != psutil.Process()
    }
    return {pid: command for pid, command in commands.items() if text in command}
