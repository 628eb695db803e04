//! The page as a person meets it: in a browser, from a file.

mod browser;
mod first_screen;
mod flame_graph;
mod graphs;
mod limits;
mod reports;
mod tabs;
