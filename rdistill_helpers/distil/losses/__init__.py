"""Distillation losses: how far the student's rows are from the teacher's, as one scalar.

All have the same signature, `loss(student_rows, teacher_rows, *, comparable=None, **settings)`:

- student_rows [B, Ds] and teacher_rows [B, Dt], row i of both from the same image. All but `regression` compare
  relations between rows, so Ds and Dt may differ. Rows are used as they come, nothing is normalised on the way in
  (PKT and regression are made of cosines by definition); the result has the rows' dtype.
- comparable [B, B] bool, symmetric: the pairs of rows that may be compared, see `JointSpace.comparable`. None means
  every pair. A row's relation to itself is part of the formula of RKD, SP and PKT and stays in whatever the diagonal
  of `comparable` says; in the others it is always left out.

Gradients are finite also where rows coincide. Constant factors of the authors (SP 3,000, PKT 30,000) are not applied: with
Adam they change nothing; in a sum, multiply by them.
"""

from rdistill_helpers.distil.losses.orders import (
    darkrank_hard,
    darkrank_soft,
    listmle,
    listwise,
    pair_order,
    smooth_ap,
)
from rdistill_helpers.distil.losses.relations import (
    pkt,
    regression,
    rkd,
    rkd_angle,
    rkd_distance,
    similarity,
    similarity_preserving,
)

__all__ = [
    "darkrank_hard",
    "darkrank_soft",
    "listmle",
    "listwise",
    "pair_order",
    "pkt",
    "regression",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "similarity",
    "similarity_preserving",
    "smooth_ap",
]
