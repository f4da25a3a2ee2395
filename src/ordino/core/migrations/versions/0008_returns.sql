-- A return has lines for several locations, for single components of kits, and with units that were cancelled. What was written
-- before, and what is written by a process of the version before, goes where its return goes.
ALTER TABLE aftercare.return_lines ADD COLUMN component_sku_id int NOT NULL DEFAULT 0;
ALTER TABLE aftercare.return_lines ADD COLUMN location_id int NOT NULL DEFAULT 0;
ALTER TABLE aftercare.return_lines ADD COLUMN cancelled bigint NOT NULL DEFAULT 0;
ALTER TABLE aftercare.return_lines ADD COLUMN received_at timestamptz;
ALTER TABLE aftercare.return_lines DROP CONSTRAINT return_lines_pk;
ALTER TABLE aftercare.return_lines ADD CONSTRAINT return_lines_pk
    PRIMARY KEY (order_id, return_id, line_no, component_sku_id, location_id);
ALTER TABLE aftercare.return_lines DROP CONSTRAINT ret_1_never_take_back_more_than_authorized;
ALTER TABLE aftercare.return_lines ADD CONSTRAINT ret_1_never_take_back_more_than_authorized CHECK
    (restocked >= 0 AND scrapped >= 0 AND cancelled >= 0 AND restocked + scrapped + cancelled <= authorized);
