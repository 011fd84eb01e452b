"""The lines in which people read what was left out."""

from components.shared.dataset.tally import Tally


def test_a_line_a_reason_with_the_first_names() -> None:
    tally = Tally()
    for number in range(5):
        tally.add("truncated", f"{number}.jpg")
    tally.add("hidden", ".DS_Store")
    assert list(tally.lines()) == ["1 hidden (.DS_Store)", "5 truncated (0.jpg, 1.jpg, 2.jpg, ...)"]
    assert str(tally) == "1 hidden (.DS_Store); 5 truncated (0.jpg, 1.jpg, 2.jpg, ...)"


def test_a_long_name_keeps_its_two_ends() -> None:
    tally = Tally()
    tally.add("truncated", "Training/happy/" + "0" * 100 + "_004.jpg")
    (line,) = tally.lines()
    assert line.startswith("1 truncated (Training/happy/0") and line.endswith("0_004.jpg)") and "..." in line
    assert len(line) == len("1 truncated ()") + 60
