from sqlalchemy.dialects import postgresql

from contract.columns import Xid8

DIALECT = postgresql.dialect()


def test_a_transaction_id_travels_as_text_and_arrives_as_a_number() -> None:
    sent = Xid8().bind_processor(DIALECT)(2**63)
    received = Xid8().result_processor(DIALECT, None)("9223372036854775808")

    assert sent == "9223372036854775808"
    assert received == 2**63


def test_no_transaction_id_is_none_both_ways() -> None:
    assert Xid8().bind_processor(DIALECT)(None) is None
    assert Xid8().result_processor(DIALECT, None)(None) is None
