"""Collectives, counted in HLO small enough to count by hand."""

import hlo_cost
import mesh_cost

# A loop of 3 sums a vector over the devices, and in a branch another; the entry sums a number.
PROGRAM = """
%learn (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %summed = f32[8]{0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add
}

%wait (q: f32[8]) -> f32[8] {
  ROOT %q = f32[8]{0} parameter(0)
}

%body (s: (s32[], f32[8], pred[])) -> (s32[], f32[8], pred[]) {
  %s = (s32[], f32[8]{0}, pred[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %x = f32[8]{0} get-tuple-element(%s), index=1
  %b = pred[] get-tuple-element(%s), index=2
  %mean = f32[8]{0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
  %new = f32[8]{0} conditional(%b, %mean, %mean), branch_computations={%wait, %learn}
  ROOT %out = (s32[], f32[8]{0}, pred[]) tuple(%i, %new, %b)
}

ENTRY %main (c: (s32[], f32[8], pred[]), n: f32[]) -> f32[] {
  %c = (s32[], f32[8]{0}, pred[]) parameter(0)
  %n = f32[] parameter(1)
  %loop = (s32[], f32[8]{0}, pred[]) while(%c), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %all = f32[] all-reduce(%n), replica_groups={{0,1}}, to_apply=%add
}
"""  # noqa: E501


def test_collectives_count_as_often_as_their_loop_turns_with_the_branch_that_has_more():
    told = mesh_cost.told(hlo_cost.parse(PROGRAM))
    assert told.collectives == 3 * 2 + 1
    assert told.bytes == 3 * 2 * 32 + 4
