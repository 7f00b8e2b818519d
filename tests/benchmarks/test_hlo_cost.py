"""The cost model of compiled programs, on HLO small enough to count by hand."""

import hlo_cost
import pytest

# One kernel multiplies (8, 4) by (4, 2); a loop of 3 adds a row of 16 of a table to a sum, and
# writes one row of a second table in place.
PROGRAM = """
%fused_row (p0: f32[1000,16], p1: s32[], p2: f32[16]) -> f32[16] {
  %p0 = f32[1000,16]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,16]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,16}
  %flat = f32[16]{0} bitcast(%row)
  %p2 = f32[16]{0} parameter(2)
  ROOT %sum = f32[16]{0} add(%flat, %p2)
}

%fused_write (q0: f32[1000,16], q1: f32[16], q2: s32[]) -> f32[1000,16] {
  %q0 = f32[1000,16]{1,0} parameter(0)
  %q1 = f32[16]{0} parameter(1)
  %q2 = s32[] parameter(2)
  %zero2 = s32[] constant(0)
  %as_row = f32[1,16]{1,0} bitcast(%q1)
  ROOT %write = f32[1000,16]{1,0} dynamic-update-slice(%q0, %as_row, %q2, %zero2)
}

%body (state: (s32[], f32[1000,16], f32[16])) -> (s32[], f32[1000,16], f32[16]) {
  %state = (s32[], f32[1000,16]{1,0}, f32[16]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %table = f32[1000,16]{1,0} get-tuple-element(%state), index=1
  %sum = f32[16]{0} get-tuple-element(%state), index=2
  %added = f32[16]{0} fusion(%table, %i, %sum), kind=kLoop, calls=%fused_row
  %written = f32[1000,16]{1,0} fusion(%table, %added, %i), kind=kLoop, calls=%fused_write
  ROOT %out = (s32[], f32[1000,16]{1,0}, f32[16]{0}) tuple(%i, %written, %added)
}

ENTRY %main (a: f32[8,4], b: f32[4,2], c: (s32[], f32[1000,16], f32[16])) -> f32[8,2] {
  %a = f32[8,4]{1,0} parameter(0)
  %b = f32[4,2]{1,0} parameter(1)
  %c = (s32[], f32[1000,16]{1,0}, f32[16]{0}) parameter(2)
  %loop = (s32[], f32[1000,16]{1,0}, f32[16]{0}) while(%c), condition=%cond, body=%body, TRIPS
  ROOT %product = f32[8,2]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""
KNOWN = 'backend_config={"known_trip_count":{"n":"3"}}'

ROW = 16 * 4
# Of the table one row is read, and of the second one written; the rest stays where it is.
ADD = ROW + 4 + ROW + ROW
WRITE = ROW + 4 + ROW
DOT = 4 * (8 * 4 + 4 * 2 + 8 * 2)


@pytest.mark.parametrize(("trips", "unknown", "turns"), [(KNOWN, 9, 3), ("", 9, 9)])
def test_a_loop_costs_its_body_times_its_trips(trips, unknown, turns):
    program = hlo_cost.parse(PROGRAM.replace("TRIPS", trips))
    cost = hlo_cost.cost(program, unknown_trips=unknown)
    assert cost.kernels == 1 + 2 * turns
    assert cost.operations == 2 * 8 * 4 * 2
    assert cost.bytes == DOT + turns * (ADD + WRITE)
    assert cost.bound == {"launch": 1 + 2 * turns, "memory": 0, "compute": 0}
    assert cost.seconds == pytest.approx((1 + 2 * turns) * hlo_cost.LAUNCH_SECONDS)


def test_a_loop_says_how_often_it_turns():
    (loop,) = hlo_cost.loops(hlo_cost.parse(PROGRAM.replace("TRIPS", KNOWN)))
    assert (loop["body"], loop["kernels"], loop["trips"]) == ("body", 2, 3)
    (loop,) = hlo_cost.loops(hlo_cost.parse(PROGRAM.replace("TRIPS", "")))
    assert loop["trips"] is None


def test_a_kernel_of_many_bytes_is_bound_by_memory():
    text = """
ENTRY %main (a: f32[100000000]) -> f32[100000000] {
  %a = f32[100000000]{0} parameter(0)
  ROOT %twice = f32[100000000]{0} add(%a, %a)
}
"""
    cost = hlo_cost.cost(hlo_cost.parse(text))
    assert cost.bound["memory"] == 1
    assert cost.seconds == pytest.approx(8e8 / hlo_cost.BYTES_PER_SECOND)


def test_a_conditional_costs_its_dearest_branch():
    text = """
%cheap (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %same = f32[4]{0} negate(%x)
}

%dear (y: f32[4]) -> f32[4] {
  %y = f32[4]{0} parameter(0)
  %one = f32[4]{0} negate(%y)
  ROOT %two = f32[4]{0} negate(%one)
}

ENTRY %main (p: s32[], v: f32[4]) -> f32[4] {
  %p = s32[] parameter(0)
  %v = f32[4]{0} parameter(1)
  ROOT %r = f32[4]{0} conditional(%p, %v, %v), branch_computations={%cheap, %dear}
}
"""
    assert hlo_cost.cost(hlo_cost.parse(text)).kernels == 2


def test_a_conditional_costs_its_dearest_branch_or_where_that_is_rare_its_cheapest():
    text = """
%dear (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %b = f32[4]{0} add(%a, %a)
  ROOT %c = f32[4]{0} multiply(%b, %a)
}

%cheap (d: f32[4]) -> f32[4] {
  %d = f32[4]{0} parameter(0)
  ROOT %e = f32[4]{0} add(%d, %d)
}

ENTRY %main (p: pred[], x: f32[4]) -> f32[4] {
  %p = pred[] parameter(0)
  %x = f32[4]{0} parameter(1)
  ROOT %chosen = f32[4]{0} conditional(%p, %x, %x), true_computation=%dear, false_computation=%cheap, metadata={op_name="jit(f)/seldom/cond"}
}
"""  # noqa: E501
    program = hlo_cost.parse(text)
    assert hlo_cost.cost(program).kernels == 2
    assert hlo_cost.cost(program, rare="seldom").kernels == 1
    assert hlo_cost.cost(program, rare="often").kernels == 2
    named = text.replace(
        "true_computation=%dear, false_computation=%cheap", "branch_computations={%cheap, %dear}"
    )
    for other in (text, named):
        (found,) = hlo_cost.conditionals(hlo_cost.parse(other))
        assert sorted(found["kernels"]) == [1, 2] and found["where"] == "jit(f)/seldom/cond"


def test_a_chain_counts_the_kernels_that_wait_for_each_other():
    two = """
      %product = f32[8,2]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
      %other = f32[8,2]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
      %same = f32[8,2]{1,0} bitcast(%other)
      ROOT %sum = f32[8,2]{1,0} add(%product, %same)
    """
    beside = PROGRAM[: PROGRAM.index("  ROOT %product")].replace("TRIPS", KNOWN) + two + "}\n"
    program = hlo_cost.parse(beside)
    assert (hlo_cost.kernels(program, "entry"), hlo_cost.chain(program, "entry")) == (3, 2)
    assert [loop["chain"] for loop in hlo_cost.loops(program)] == [2]
