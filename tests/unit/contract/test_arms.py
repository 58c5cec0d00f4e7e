from uuid import UUID

import numpy as np
import pytest

from contract import arms
from contract.records import Arm

UNITS = [UUID(int=number, version=4).bytes for number in range(10_000)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_canary_gets_its_share_of_the_units(share):
    found = np.mean([arms.arm(unit, share=share) is Arm.CANARY for unit in UNITS])

    # Four standard errors of a share of 10,000 independent units.
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / len(UNITS)) ** 0.5)


def test_nobody_leaves_the_canary_as_its_share_grows():
    inside = [
        {unit for unit in UNITS if arms.arm(unit, share=share) is Arm.CANARY}
        for share in (0.1, 0.5, 0.9)
    ]

    assert inside[0] < inside[1] < inside[2]


def test_at_no_share_there_is_no_canary_and_at_all_of_it_nothing_else():
    assert not any(arms.arm(unit, share=0.0) is Arm.CANARY for unit in UNITS)
    assert all(arms.arm(unit, share=1.0) is Arm.CANARY for unit in UNITS)


def test_a_unit_keeps_its_place_from_release_to_release():
    assert arms.place(b"a session") == 0.26274318968494015
