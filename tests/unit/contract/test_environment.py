import pytest

from contract.environment import refuse_unknown


def test_a_misspelt_setting_is_refused_by_name():
    environ = {"RANKLOOP_SERVICE_EPSILN": ".1", "RANKLOOP_DATABASE_URL": "x"}

    with pytest.raises(ValueError, match="RANKLOOP_SERVICE_EPSILN"):
        refuse_unknown("service", ["service_epsilon"], environ)


def test_settings_of_other_processes_and_of_other_programs_are_left_alone():
    environ = {"RANKLOOP_TRAINER_SEED": "1", "PATH": "/bin", "RANKLOOP_SERVICE_EPSILON": ".1"}

    refuse_unknown("service", ["service_epsilon"], environ)
