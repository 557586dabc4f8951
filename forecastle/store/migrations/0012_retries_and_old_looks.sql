-- Of a run that is tried again because the one that was planned first did not succeed: that one. What was decided
-- about the first one holds for it. No foreign key: runs that ended long ago are deleted.
alter table job_runs add column in_place_of uuid;

-- An old look may go, with a version that nobody names any more; the rows that it used up stay used up.
alter table gate_rows
    alter column look drop not null,
    drop constraint gate_rows_look_fkey,
    add constraint gate_rows_look_fkey foreign key (look) references gate_looks on delete set null;
create index gate_rows_by_look on gate_rows (look);
