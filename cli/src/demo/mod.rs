mod patients;
mod scan;
mod tree;
