"""A folder in Northwind's layout as a workload: customers.csv, products.csv, orders.csv and order-details.csv.

All products are sellable: `discontinued` means that a product is not restocked, and a quarter of the orders contain
one. The initial stock is `unitsInStock` plus all units ordered, so every order can be met and `unitsInStock` must be
left at the end. A product's price list holds its own price and each price at which it was ever sold.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from lab.workload.csv_table import InputError, Row, Table, read_table
from lab.workload.expectations import CatalogueProduct, ExpectedOrder, MailAddresses, Workload
from orders.model import Address, Customer, Line, NewOrder

CURRENCY = "USD"
REFERENCE = "NW-{}"
_MOST_LINES = 1000
_CUSTOMERS = ("customerID", "companyName")
_PRODUCTS = ("productID", "productName", "unitPrice", "unitsInStock")
_ORDERS = ("orderID", "customerID", "shipName", "shipAddress", "shipCity", "shipRegion", "shipPostalCode")
_DETAILS = ("orderID", "productID", "unitPrice", "quantity", "discount")


def load_northwind(folder: Path) -> Workload:
    """All orders of a folder, in the file's order. Raises InputError naming file, line, column and value."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; ORDERS takes one with orders.csv, order-details.csv and the rest")
    customers = read_table(folder / "customers.csv", _CUSTOMERS)
    products = read_table(folder / "products.csv", _PRODUCTS)
    orders = read_table(folder / "orders.csv", (*_ORDERS, "shipCountry"))
    details = read_table(folder / "order-details.csv", _DETAILS)
    lines = _lines_by_order(details, by_key(orders, "orderID"), by_key(products, "productID"))
    return Workload(
        title=f"the orders of {folder}",
        currency=CURRENCY,
        products=_products(products, [line for of_order in lines.values() for line in of_order]),
        orders=_orders(orders, by_key(customers, "customerID"), lines),
        notes=tuple(_note(table) for table in (customers, products, orders, details) if table.joined),
    )


def by_key(table: Table, column: str) -> dict[str, Row]:
    """The rows by a column whose values are unique."""
    rows: dict[str, Row] = {}
    for row in table.rows:
        key = row.text(column)
        if key in rows:
            raise row.error(column, f"is in line {rows[key].line} already")
        rows[key] = row
    return rows


def _lines_by_order(details: Table, orders: dict[str, Row], products: dict[str, Row]) -> dict[str, list[Line]]:
    lines: defaultdict[str, list[Line]] = defaultdict(list)
    for row in details.rows:
        order_id, sku = row.text("orderID"), row.text("productID")
        if order_id not in orders:
            raise row.error("orderID", "is no order of orders.csv")
        if sku not in products:
            raise row.error("productID", "is no product of products.csv")
        lines[order_id].append(
            Line(
                sku=sku,
                quantity=row.whole("quantity", least=1),
                unit_price=row.decimal("unitPrice"),
                discount=row.decimal("discount", below=Decimal(1)),
            )
        )
    return lines


def _products(products: Table, lines: Iterable[Line]) -> tuple[CatalogueProduct, ...]:
    units: Counter[str] = Counter()
    sold_at: defaultdict[str, set[Decimal]] = defaultdict(set)
    for line in lines:
        units[line.sku] += line.quantity
        sold_at[line.sku].add(line.unit_price)
    return tuple(
        CatalogueProduct(
            sku=row.text("productID"),
            name=row.text("productName"),
            stock=row.whole("unitsInStock") + units[row.text("productID")],
            prices=frozenset(sold_at[row.text("productID")] | {row.decimal("unitPrice")}),
        )
        for row in products.rows
    )


def _orders(orders: Table, customers: dict[str, Row], lines: dict[str, list[Line]]) -> tuple[ExpectedOrder, ...]:
    addresses = MailAddresses()
    made = []
    for row in orders.rows:
        order_id, customer_id = row.text("orderID"), row.text("customerID")
        if customer_id not in customers:
            raise row.error("customerID", "is no customer of customers.csv")
        if not 1 <= len(lines.get(order_id, ())) <= _MOST_LINES:
            raise row.error(
                "orderID", f"has {len(lines.get(order_id, ()))} lines in order-details.csv, not 1 to {_MOST_LINES}"
            )
        customer = Customer(
            name=customers[customer_id].optional("companyName") or row.text("shipName"),
            email=addresses.address(customer_id, customer_id),
            address=_address(row),
        )
        order = NewOrder(
            reference=REFERENCE.format(order_id), customer=customer, currency=CURRENCY, lines=tuple(lines[order_id])
        )
        made.append(ExpectedOrder(order))
    return tuple(made)


def _address(row: Row) -> Address:
    return Address(
        street=row.text("shipAddress"),
        city=row.text("shipCity"),
        country=row.text("shipCountry"),
        postal_code=row.optional("shipPostalCode"),
        region=row.optional("shipRegion"),
    )


def _note(table: Table) -> str:
    return f"{table.path.name}: {table.joined} rows had commas without quotes inside an address and were joined"
