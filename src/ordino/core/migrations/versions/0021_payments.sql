ALTER TABLE catalog.channels ADD COLUMN payment_provider text NOT NULL DEFAULT 'manual';

ALTER TABLE orders.payments ADD COLUMN method text;
ALTER TABLE orders.payments ADD COLUMN taken_over boolean NOT NULL DEFAULT false;

CREATE TABLE orders.payment_tokens (
    order_id uuid NOT NULL,
    token text NOT NULL,
    CONSTRAINT payment_tokens_pk PRIMARY KEY (order_id),
    CONSTRAINT a_token_is_for_an_order FOREIGN KEY (order_id) REFERENCES orders.orders
);
