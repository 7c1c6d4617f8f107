pub mod projection;
pub mod record;
pub mod report;
