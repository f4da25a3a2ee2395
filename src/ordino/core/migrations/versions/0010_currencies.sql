ALTER TABLE network.locations ADD COLUMN currency text;
ALTER TABLE warehouse.fulfillment_orders ADD COLUMN handling_currency text;
ALTER TABLE warehouse.shipments ADD COLUMN cost_currency text;
ALTER TABLE sourcing.outlook ADD COLUMN currency text;
CREATE TABLE network.exchange_rates (
    from_currency text NOT NULL,
    to_currency text NOT NULL,
    valid_from date NOT NULL,
    rate numeric NOT NULL,
    CONSTRAINT exchange_rates_pk PRIMARY KEY (from_currency, to_currency, valid_from),
    CONSTRAINT an_exchange_rate_is_positive CHECK (rate > 0),
    CONSTRAINT a_currency_is_exchanged_for_another_one CHECK (from_currency <> to_currency)
);
