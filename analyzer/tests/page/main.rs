//! The page as a person meets it: in a browser, from a file.

mod browser;
mod first_screen;
mod flame_graph;
mod gpu;
mod graphs;
mod limits;
mod processes;
mod reports;
mod tabs;
