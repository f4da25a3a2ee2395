CREATE INDEX orders_by_channel ON orders.orders (channel_id, placed_at, order_id);
