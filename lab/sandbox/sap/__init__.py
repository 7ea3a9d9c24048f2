"""A stand-in for SAP that speaks the OData V2 service API_SALES_ORDER_SRV."""
