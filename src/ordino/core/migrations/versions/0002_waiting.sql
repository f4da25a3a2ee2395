-- Units that orders wait for have a first claim to what becomes free.
-- What orders of a channel wait for, of kits their components; and whether they have been asked since units became free.
CREATE TABLE inventory.waiting (
    sku_id int NOT NULL,
    channel_id int NOT NULL,
    quantity bigint NOT NULL,
    freed bigint NOT NULL,             -- how often units may have become free
    offered bigint NOT NULL,           -- how often, when the orders were last asked
    stamp bigint NOT NULL DEFAULT 0,   -- the revisions of what decides, then
    offered_at timestamptz,
    CONSTRAINT waiting_pk PRIMARY KEY (sku_id, channel_id),
    CONSTRAINT wai_1_no_less_than_nothing_waits CHECK (quantity >= 0)
) WITH (fillfactor = 70);
CREATE INDEX waiting_now ON inventory.waiting (sku_id) WHERE quantity > 0;

INSERT INTO inventory.waiting (sku_id, channel_id, quantity, freed, offered)
SELECT coalesce(k.component_sku_id, l.sku_id), o.channel_id, sum(l.backordered * coalesce(k.quantity, 1))::bigint, 1, -1
FROM orders.lines l
JOIN orders.orders o ON o.order_id = l.order_id
LEFT JOIN inventory.kit_lines k ON k.order_id = l.order_id AND k.line_no = l.line_no
WHERE l.backordered > 0
GROUP BY 1, 2;
