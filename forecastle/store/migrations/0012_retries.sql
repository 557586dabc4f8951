-- Of a run that is tried again because the one that was planned first did not succeed: that one. What was decided
-- about the first one holds for it. No foreign key: runs that ended long ago are deleted.
alter table job_runs add column in_place_of uuid;
