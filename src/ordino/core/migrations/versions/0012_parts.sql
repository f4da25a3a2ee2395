ALTER TABLE orders.lines ADD COLUMN parts_per_unit int NOT NULL DEFAULT 1;
ALTER TABLE orders.lines ADD COLUMN parts_back bigint NOT NULL DEFAULT 0;

-- Every unit of a component is a part of its kit.
UPDATE orders.lines l SET parts_per_unit = b.parts, parts_back = b.back - l.returned * b.parts
FROM (SELECT r.order_id, r.line_no, k.parts,
             sum((r.restocked + r.scrapped) * CASE r.component_sku_id WHEN 0 THEN k.parts ELSE 1 END)::bigint AS back
      FROM aftercare.return_lines r
      JOIN (SELECT order_id, line_no, sum(quantity)::int AS parts FROM inventory.kit_lines GROUP BY order_id, line_no) k
          USING (order_id, line_no)
      GROUP BY r.order_id, r.line_no, k.parts HAVING bool_or(r.component_sku_id <> 0)) b
WHERE l.order_id = b.order_id AND l.line_no = b.line_no;

ALTER TABLE orders.lines ADD CONSTRAINT mon_9_parts_are_no_less_than_none CHECK
    (parts_per_unit >= 1 AND parts_back >= 0);
