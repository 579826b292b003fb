// One page about a run: curves, evaluations, data, settings, files. One file without links, readable without its script.
#pragma once

#include <string>
#include <vector>

namespace shori {

// Writes report.html and loss.svg into `path`, a run folder or the folder of a recipe, each atomically; returns their
// paths. Takes no lock. E0510 if there is no run, E0506 if its records cannot be read, E0512, E0513.
std::vector<std::string> write_report(const std::string& path);

// Writes report-with-<name of b>.html into `a`: the curves of both runs over each other. Stages of two recipes are paired
// by name.
std::vector<std::string> write_comparison(const std::string& a, const std::string& b);

// write_report() at an epoch end. A page that cannot be written is logged and no reason to stop a run.
void update_report(const std::string& path);

}  // namespace shori
