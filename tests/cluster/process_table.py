"""What the operating system says about processes; works on Linux and macOS."""

import subprocess


def group_states(group: int) -> list[str]:
    """State letters of the processes of a group that have not ended (`T`: stopped); zombies have ended."""
    table = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in table.splitlines()]
    return [row[1][0] for row in rows if len(row) == 2 and row[0] == str(group) and row[1][0] != "Z"]
