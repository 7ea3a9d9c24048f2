import json
from decimal import Decimal
from pathlib import Path

import pytest

from lab.workload.csv_table import InputError, Row, read_table
from lab.workload.expectations import Workload
from lab.workload.northwind import load_northwind
from tests.support.paths import ROOT

NORTHWIND = ROOT.parent / "shared" / "data" / "northwind"

FILES = {
    "customers.csv": 'customerID,companyName,country\nBONAP,"Bon app\'",France\nNONAM,NULL,Spain\n',
    "products.csv": (
        "productID,productName,unitPrice,unitsInStock,discontinued\n"
        '11,"Queso ""Cabrales""",21.00,22,0\n42,Singaporean Fried Mee,14.00,26,1\n'
    ),
    "orders.csv": (
        "orderID,customerID,shipName,shipAddress,shipCity,shipRegion,shipPostalCode,shipCountry\n"
        '1,BONAP,Bon app\',"12, rue des Bouchers",Marseille,NULL,13008,France\n'
        "2,NONAM,Bólido,C/ Araquil, 67,Madrid,NULL,NULL,Spain\n"
    ),
    "order-details.csv": (
        "orderID,productID,unitPrice,quantity,discount\n1,11,14.00,12,0\n1,42,9.80,10,0.05\n2,11,21.00,1,0\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def spoil(folder: Path, name: str, old: str, new: str) -> None:
    content = (folder / name).read_text()
    assert old in content
    (folder / name).write_text(content.replace(old, new))


@pytest.fixture(scope="module")
def northwind() -> Workload:
    if not NORTHWIND.is_dir():
        pytest.skip(f"the Northwind files are not at {NORTHWIND}")
    return load_northwind(NORTHWIND)


def test_the_real_files_have_the_figures_that_their_facts_give(northwind: Workload) -> None:
    facts = json.loads((NORTHWIND / "facts.json").read_text())

    assert len(northwind.orders) == facts["orders"]
    assert sum(len(one.order.lines) for one in northwind.orders) == facts["lines"]
    assert sum(northwind.units.values()) == facts["units"]
    assert dict(northwind.units) == facts["units_by_product"]
    assert str(northwind.net_total) == facts["net_revenue_line_rounded_half_up"]
    by_reference = {one.order.reference: one.order for one in northwind.orders}
    for which in ("largest_order", "smallest_order"):
        assert str(by_reference[f"NW-{facts[which]['orderID']}"].net_total) == facts[which]["net"]


def test_every_real_order_can_be_met_and_leaves_what_was_in_stock(northwind: Workload) -> None:
    prices = {product.sku: product.prices for product in northwind.products}
    in_stock = {row.text("productID"): row.whole("unitsInStock") for row in _rows("products.csv", "unitsInStock")}

    assert not northwind.refused
    assert northwind.stock_at_end == in_stock
    assert all(line.unit_price in prices[line.sku] for one in northwind.orders for line in one.order.lines)


def test_real_addresses_keep_their_commas_and_real_customers_have_one_address_each(northwind: Workload) -> None:
    orders = {one.order.reference: one.order for one in northwind.orders}
    emails = {one.order.customer.email: one.order.customer.name for one in northwind.orders}

    assert orders["NW-10250"].customer.address.street == "Rua do Paço, 67"
    assert orders["NW-10250"].customer.address.city == "Rio de Janeiro"
    assert len(emails) == len(set(emails.values())) == 89
    assert all(email.isascii() and email.endswith("@example.com") for email in emails)


def _rows(name: str, column: str) -> tuple[Row, ...]:
    return read_table(NORTHWIND / name, (column,)).rows


def test_quotes_null_and_a_missing_company_name_are_understood(folder: Path) -> None:
    first, second = (one.order for one in load_northwind(folder).orders)

    assert first.customer.name == "Bon app'"
    assert first.customer.address.street == "12, rue des Bouchers"
    assert first.customer.address.region is None
    assert second.customer.name == "Bólido"
    assert second.customer.address.street == "C/ Araquil, 67"
    assert second.customer.address.postal_code is None


def test_stock_is_the_units_in_stock_plus_those_ordered_and_each_price_seen_is_listed(folder: Path) -> None:
    products = {product.sku: product for product in load_northwind(folder).products}

    assert products["11"].name == 'Queso "Cabrales"'
    assert (products["11"].stock, products["42"].stock) == (22 + 13, 26 + 10)
    assert products["11"].prices == {Decimal("21.00"), Decimal("14.00")}
    assert products["42"].prices == {Decimal("14.00"), Decimal("9.80")}


def test_a_file_with_joined_rows_is_noted_and_one_without_is_not(folder: Path) -> None:
    assert [note.split(":")[0] for note in load_northwind(folder).notes] == ["orders.csv"]
    spoil(folder, "orders.csv", "C/ Araquil, 67", '"C/ Araquil, 67"')
    assert load_northwind(folder).notes == ()


@pytest.mark.parametrize(
    ("name", "old", "new", "reported"),
    [
        ("order-details.csv", "1,11,14.00,12,0", "1,11,14.00,0,0", "line 2, column quantity: '0'"),
        ("order-details.csv", "1,11,14.00,12,0", "1,11,fourteen,12,0", "line 2, column unitPrice: 'fourteen'"),
        ("order-details.csv", "1,11,14.00,12,0", "1,11,NaN,12,0", "column unitPrice: 'NaN'"),
        ("order-details.csv", "1,11,14.00,12,0", "1,11,1.00001,12,0", "at most 4 decimals"),
        ("order-details.csv", "10,0.05", "10,1", "line 3, column discount: '1' is not below 1"),
        ("order-details.csv", "2,11,21.00", "9,11,21.00", "line 4, column orderID: '9' is no order"),
        ("order-details.csv", "2,11,21.00", "2,77,21.00", "column productID: '77' is no product"),
        ("order-details.csv", "2,11,21.00,1,0\n", "", "line 3, column orderID: '2' has 0 lines"),
        ("orders.csv", "2,NONAM", "2,NOBOD", "line 3, column customerID: 'NOBOD' is no customer"),
        ("orders.csv", "2,NONAM", "1,NONAM", "column orderID: '1' is in line 2 already"),
        ("orders.csv", "Madrid", "NULL", "line 3, column shipCity: 'NULL' must not be empty"),
        ("orders.csv", "shipCity", "city", "no column shipCity"),
        ("orders.csv", "Araquil, 67", "Araquil,67", "line 3: 9 fields where the header has 8"),
        ("orders.csv", ",France", "", "line 2: 7 fields where the header has 8"),
        ("products.csv", "26,1", "-1,1", "column unitsInStock: '-1'"),
        ("products.csv", 'Queso ""Cabrales""",', 'Queso ""Cabrales"",', "products.csv, line 3"),
    ],
)
def test_a_bad_value_is_named_with_file_line_and_column(
    folder: Path, name: str, old: str, new: str, reported: str
) -> None:
    spoil(folder, name, old, new)
    with pytest.raises(InputError) as raised:
        load_northwind(folder)
    assert name in str(raised.value)
    assert reported in str(raised.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_northwind(folder)


def test_a_file_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "orders.csv").write_bytes(FILES["orders.csv"].encode("latin-1"))
    with pytest.raises(InputError, match=r"orders\.csv is not UTF-8"):
        load_northwind(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        load_northwind(tmp_path / "nowhere")
