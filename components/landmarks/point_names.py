"""The names of the points that dlib's shape predictors give; left is the viewer's left in the picture."""


def _numbered(**counts: int) -> tuple[str, ...]:
    return tuple(f"{name}_{number}" for name, count in counts.items() for number in range(count))


IBUG_68 = _numbered(
    jaw=17,
    left_brow=5,
    right_brow=5,
    nose_bridge=4,
    nose_base=5,
    left_eye=6,
    right_eye=6,
    outer_lip=12,
    inner_lip=8,
)
"""The 68 points of iBUG 300-W: the jaw from left to right, brows, nose, eyes clockwise, lips clockwise."""

DLIB_5 = ("right_eye_outer", "right_eye_inner", "left_eye_outer", "left_eye_inner", "nose_base")
"""The corners of the eyes and the point below the nose."""

POINT_NAMES = {68: IBUG_68, 5: DLIB_5}
