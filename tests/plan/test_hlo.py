"""Collectives counted in program texts as XLA writes them."""

import pytest

from cnn.plan import hlo

SYNCHRONOUS = """\
HloModule jit_step, is_scheduled=true

%region_0.1 (a: f32[], b: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%a, %b)
}

ENTRY %main (p: f32[64]) -> f32[64] {
  %p = f32[64]{0} parameter(0)
  %all-reduce.1 = f32[64]{0:T(128)S(1)} all-reduce(%p), channel_id=1, \
replica_groups=mesh['axis_0'=16,'axis_1'=1] {'axis_0','axis_1'}, to_apply=%region_0.1
  %both = (bf16[8,2]{1,0}, f32[4]{0}) all-reduce(%x, %y), replica_groups={{0,1,2,3},{4,5,6,7}}, \
to_apply=%region_0.1
  %gathered = f32[32]{0} all-gather(%p), replica_groups=[4,8]<=[32], dimensions={0}
  %part = f32[2]{0} reduce-scatter(%p), replica_groups=[2,16]<=[32], to_apply=%region_0.1
  %moved = u8[10]{0} collective-permute(%q), source_target_pairs={{0,1},{1,0}}
  %swapped = s32[16]{0} all-to-all(%p), replica_groups={}, dimensions={0}
  ROOT %copy = f32[64]{0} copy(%all-reduce.1)
}
"""


def test_every_kind_is_counted_with_its_bytes():
    found = hlo.collectives(SYNCHRONOUS, 16)
    assert found["all-reduce"] == hlo.Traffic(
        2, 256 + 48, pytest.approx(2 * 256 * 15 / 16 + 2 * 48 * 3 / 4)
    )
    assert found["all-gather"] == hlo.Traffic(1, 128, pytest.approx(128 * 7 / 8))
    # The result is a sixteenth of what is summed.
    assert found["reduce-scatter"] == hlo.Traffic(1, 128, pytest.approx(128 * 15 / 16))
    assert found["collective-permute"] == hlo.Traffic(1, 10, 10)
    assert found["all-to-all"] == hlo.Traffic(1, 64, pytest.approx(64 * 15 / 16))
    assert hlo.sent_bytes(found) == pytest.approx(sum(one.sent_bytes for one in found.values()))


def test_an_asynchronous_one_is_two_instructions_and_counts_once():
    text = """\
ENTRY %main (p: bf16[64]) -> bf16[64] {
  %s = (bf16[4]{0}, bf16[64]{0}, u32[], u32[]) all-gather-start(%p), replica_groups=[1,16]<=[16]
  %d = bf16[64]{0} all-gather-done(%s)
  %r = f32[8]{0} all-reduce-start(%q), replica_groups=[1,16]<=[16], to_apply=%add
  ROOT %e = f32[8]{0} all-reduce-done(%r)
}
"""
    found = hlo.collectives(text, 16)
    assert {kind: one[:2] for kind, one in found.items()} == {
        "all-gather": (1, 128),
        "all-reduce": (1, 32),
    }


def test_what_is_in_a_loop_counts_as_often_as_the_loop_turns():
    text = """\
%inner (x: f32[]) -> f32[] {
  ROOT %r = f32[2]{0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
}

%body (x: f32[4]) -> f32[4] {
  %f = f32[] fusion(%x), kind=kCustom, calls=%inner
  ROOT %g = f32[4]{0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
}

%condition (x: f32[4]) -> pred[] {
  ROOT %less = pred[] compare(%x, %x), direction=LT
}

ENTRY main {
  ROOT %w = f32[4]{0} while(%x), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0","step":"1"}}
}
"""
    assert hlo.collectives(text, 2)["all-reduce"] == hlo.Traffic(10, 5 * 16 + 5 * 8, 120.0)


def test_part_of_a_mesh_axis_is_a_group():
    text = (
        "ENTRY main {\n  %a = f32[2]{0} all-reduce(%x), replica_groups="
        "mesh['axis_0'=16,'axis_1'=4] {'axis_0':(2)8}, to_apply=%add\n}\n"
    )
    assert hlo.collectives(text, 64)["all-reduce"].sent_bytes == pytest.approx(8 * 2 * 7 / 8)


def test_a_program_on_one_device_has_none():
    assert hlo.collectives("ENTRY main {\n  ROOT %a = f32[] add(%x, %y)\n}\n", 1) == {}
