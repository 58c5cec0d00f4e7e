from uuid import UUID

import numpy as np
import pytest

from contract import arms
from contract.records import Arm

UNITS = [UUID(int=number, version=4).bytes for number in range(10_000)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_canary_gets_its_share_of_the_units(share):
    found = np.mean([arms.arm(unit, canary=share) is Arm.CANARY for unit in UNITS])

    # Four standard errors of a share of 10,000 independent units.
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / len(UNITS)) ** 0.5)


def test_nobody_leaves_the_canary_as_its_share_grows():
    inside = [
        {unit for unit in UNITS if arms.arm(unit, canary=share) is Arm.CANARY}
        for share in (0.1, 0.5, 0.9)
    ]

    assert inside[0] < inside[1] < inside[2]


def test_at_no_share_there_is_no_canary_and_at_all_of_it_nothing_else():
    assert all(arms.arm(unit) is Arm.CHAMPION for unit in UNITS)
    assert all(arms.arm(unit, canary=1.0) is Arm.CANARY for unit in UNITS)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_a_share_of_the_units_is_held_back_beside_any_canary(share):
    alone, beside = (
        np.mean([arms.arm(unit, canary=canary, hold_back=share) is Arm.HOLD_BACK for unit in UNITS])
        for canary in (0.0, 0.5)
    )

    # Four standard errors, as above; a canary takes nothing from it.
    assert alone == pytest.approx(share, abs=4 * (share * (1 - share) / len(UNITS)) ** 0.5)
    assert beside == alone


def test_nobody_who_is_held_back_is_let_go_as_the_share_grows():
    inside = [
        {unit for unit in UNITS if arms.arm(unit, hold_back=share) is Arm.HOLD_BACK}
        for share in (0.02, 0.1, 0.4)
    ]

    assert inside[0] < inside[1] < inside[2]


def test_nobody_goes_from_the_canary_to_the_base_whatever_their_shares():
    shares = [(canary, hold_back) for canary in (0.1, 0.5, 0.9) for hold_back in (0.02, 0.1)]

    in_canary, held_back = (
        {
            unit
            for canary, hold_back in shares
            for unit in UNITS
            if arms.arm(unit, canary=canary, hold_back=hold_back) is arm
        }
        for arm in (Arm.CANARY, Arm.HOLD_BACK)
    )

    assert in_canary
    assert held_back
    assert not in_canary & held_back


def test_the_base_is_at_the_other_end_than_the_canary():
    stands = arms.place(b"a session")

    assert 0.26 < stands < 0.27
    assert arms.arm(b"a session", canary=0.27) is Arm.CANARY
    assert arms.arm(b"a session", canary=0.26, hold_back=1 - 0.27) is Arm.CHAMPION
    assert arms.arm(b"a session", canary=0.26, hold_back=1 - 0.26) is Arm.HOLD_BACK


def test_a_unit_keeps_its_place_from_release_to_release():
    assert arms.place(b"a session") == 0.26274318968494015
