"""What MuJoCo must have computed before a derived field of MjData can be read."""

from mjx_dm.tasks.task import Task

# mj_rnePostConstraint fills these in; mj_step leaves them alone.
_RNE = {"cfrc_ext", "cfrc_int", "cacc"}
# Forces, which are 0 where none has acted yet.
AT_REST = {"qfrc_actuator", "qfrc_constraint"} | _RNE
# Known once positions and velocities are; any other takes mj_forward.
_KINEMATIC = {
    "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat",
    "site_xpos", "site_xmat", "subtree_com", "cinert", "cdof", "cvel",
}  # fmt: skip


def needs_rne(task: Task) -> bool:
    """Whether a step must end with mj_rnePostConstraint, as Gymnasium's does."""
    return not _RNE.isdisjoint(task.reads)


def needs_forward(task: Task) -> bool:
    """Whether placing a world takes mj_forward, not kinematics alone."""
    return bool(set(task.reads) - _KINEMATIC - AT_REST)
