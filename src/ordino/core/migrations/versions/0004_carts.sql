-- Which hold a cart has, or had last: looked up by what the channel calls the cart, written before the hold. One row a cart, so that a
-- cart has one open hold at most.
CREATE TABLE inventory.carts (
    channel_id int NOT NULL,
    cart text NOT NULL,
    hold_id uuid NOT NULL,
    CONSTRAINT hld_4_a_cart_has_one_hold PRIMARY KEY (channel_id, cart)
);

-- Of a cart that has several open holds, the last one is its own; the others stay what they are until they end, without a cart.
UPDATE inventory.holds h SET cart = NULL
WHERE h.cart IS NOT NULL AND h.ended_at IS NULL
  AND EXISTS (SELECT 1 FROM inventory.holds l
              WHERE l.channel_id = h.channel_id AND l.cart = h.cart AND l.ended_at IS NULL AND l.hold_id > h.hold_id);
INSERT INTO inventory.carts (channel_id, cart, hold_id)
SELECT DISTINCT ON (channel_id, cart) channel_id, cart, hold_id FROM inventory.holds
WHERE cart IS NOT NULL ORDER BY channel_id, cart, ended_at IS NULL DESC, hold_id DESC;

-- The SKUs that are no longer sold as far as the feed has told it: what is retired or revived is found by comparing.
CREATE TABLE inventory.retired (
    sku_id int NOT NULL,
    CONSTRAINT retired_pk PRIMARY KEY (sku_id)
);
CREATE INDEX skus_retired ON catalog.skus (sku_id) WHERE NOT active;
INSERT INTO core.revisions (name, number) VALUES ('retired', 1), ('retired_published', 0);
