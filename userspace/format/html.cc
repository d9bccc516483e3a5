// SPDX-License-Identifier: Apache-2.0
//
// One offline page: the header and the tables are plain HTML, the flame graph is drawn by
// html/page.js from the data block at the end. The data block holds the trees (flame_tree.h) as
// arrays of numbers beside one table of strings.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "userspace/format/flame_tree.h"
#include "userspace/format/format.h"
#include "userspace/format/page.h"
#include "userspace/format/text.h"
#include "userspace/format/value.h"
#include "userspace/profile/site.h"

namespace stallscope {
namespace {

constexpr size_t kTableRows = 20;

std::string ShownHtml(std::string_view name) { return EscapeHtml(PrintableName(name)); }

// What the width of a box stands for when `column` of `event` is drawn.
std::string WidthMeaning(const EventProfile& event, const Column& column) {
  if (column.name == "time" && column.unit == "ns") {
    if (event.name == "oncpu") return "CPU time";
    if (event.name == "wall") return "time";
    return "time waited";
  }
  if (column.name == "runq") return "time waited for a CPU";
  return column.name;
}

// The event's sum of a column; nothing when no sample has it.
std::optional<int64_t> TotalOf(const EventProfile& event, size_t column) {
  std::optional<int64_t> total;
  for (const ProfileSample& sample : event.samples)
    total = AddValues(total, ValueAt(sample, column));
  return total;
}

std::optional<size_t> CountColumn(const EventProfile& event) {
  for (size_t i = 1; i < event.columns.size(); ++i) {
    if (event.columns[i].name == "count") return i;
  }
  return std::nullopt;
}

std::string ShowUtc(int64_t unix_ns) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ns / 1'000'000'000);
  std::tm utc = {};
  if (unix_ns <= 0 || gmtime_r(&seconds, &utc) == nullptr) return "";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

// ---- the header

// "33 samples"
std::string ShowSamples(uint64_t count) {
  return ShowValue(static_cast<int64_t>(count), "count") + (count == 1 ? " sample" : " samples");
}

std::string LossHtml(const Loss& loss) {
  std::string text =
      fmt::format("<li><b>{}</b>: {} ", ShownHtml(loss.event), ShowSamples(loss.count));
  if (loss.time_ns) {
    text += fmt::format("({}) ", ShowValue(static_cast<int64_t>(*loss.time_ns), "ns"));
  }
  text += loss.dropped ? "missing from the picture: " : "shown without a full stack or name: ";
  text += ShownHtml(loss.name);
  if (!loss.remedy.empty()) text += fmt::format("; try <code>{}</code>", ShownHtml(loss.remedy));
  return text + "</li>\n";
}

std::string HiddenHtml(const Hidden& hidden) {
  return fmt::format("<li><b>{}</b>: {} ({}) not shown: {}</li>\n", ShownHtml(hidden.event),
                     ShowValue(static_cast<int64_t>(hidden.time_ns), "ns"),
                     ShowSamples(hidden.count), ShownHtml(hidden.why));
}

// "nothing", or how much, in short; the list below the facts says what.
std::string LostText(const Profile& profile) {
  uint64_t dropped = 0;
  for (const Loss& loss : profile.losses) dropped += loss.dropped ? loss.count : 0;
  if (dropped > 0) return ShowSamples(dropped) + ", listed below";
  return profile.losses.empty() ? "nothing" : "no time; some names or stacks, listed below";
}

std::string FactHtml(std::string_view name, std::string_view value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, value);
}

// "demo (pid 42)" for "-p 42 (demo)"; any other target as the recording names it.
std::string TitleOf(std::string_view target) {
  constexpr std::string_view kOption = "-p ";
  const size_t digits = target.find_first_not_of("0123456789", kOption.size());
  const bool one = target.substr(0, kOption.size()) == kOption && digits != target.npos &&
                   digits > kOption.size() && target.substr(digits, 2) == " (" &&
                   target.back() == ')' && target.find("), ") == target.npos;
  if (!one) return std::string(target);
  return fmt::format("{} (pid {})", target.substr(digits + 2, target.size() - digits - 3),
                     target.substr(kOption.size(), digits - kOption.size()));
}

std::string HeaderHtml(const Profile& profile) {
  std::string out =
      fmt::format("<h1>{}</h1>\n<dl class=\"facts\">\n", ShownHtml(TitleOf(profile.target)));
  const std::string start = ShowUtc(profile.start_unix_ns);
  if (!start.empty()) out += FactHtml("Recorded", start);
  out += FactHtml("Duration", ShowValue(static_cast<int64_t>(profile.duration_ns), "ns"));
  out += FactHtml("Lost", LostText(profile));
  out += FactHtml("By", "stallscope " + ShownHtml(profile.tool_version));
  out += "</dl>\n";
  if (!profile.losses.empty()) {
    out += "<ul class=\"lost\">\n";
    for (const Loss& loss : profile.losses) out += LossHtml(loss);
    out += "</ul>\n";
  }
  if (!profile.hidden.empty() || !profile.notes.empty()) {
    out += "<ul class=\"notes\">\n";
    for (const Hidden& hidden : profile.hidden) out += HiddenHtml(hidden);
    for (const std::string& note : profile.notes) out += "<li>" + ShownHtml(note) + "</li>\n";
    out += "</ul>\n";
  }
  return out;
}

// ---- the tables

struct TableRow {
  std::string reason;
  std::string site;   // name
  std::string place;  // "file:line", empty when unknown or not the same for all
  std::optional<int64_t> value;
  std::optional<int64_t> count;
  bool never_ran = false;  // outside the shares of the rest
};

std::string PlaceOf(const ProfileFrame& frame) {
  if (frame.file.empty()) return "";
  return frame.line == 0 ? frame.file : fmt::format("{}:{}", frame.file, frame.line);
}

// The heaviest pairs of reason and site, at most kTableRows, heaviest first; equal ones by name.
std::vector<TableRow> HeaviestRows(const Profile& profile, const EventProfile& event) {
  std::map<std::tuple<std::string, std::string, bool>, TableRow> sums;
  const std::optional<size_t> count_column = CountColumn(event);
  for (const ProfileSample& sample : event.samples) {
    const std::optional<uint32_t> site = SiteOfWait(profile.frames, sample.frames, sample.own_from);
    const std::string name = site ? profile.frames[*site].name : sample.comm;
    const std::string place = site ? PlaceOf(profile.frames[*site]) : "";
    const auto [it, added] = sums.try_emplace({sample.reason, name, sample.never_ran});
    TableRow& row = it->second;
    if (added) {
      row.reason = sample.reason;
      row.site = name;
      row.place = place;
      row.never_ran = sample.never_ran;
    } else if (row.place != place) {
      row.place.clear();
    }
    row.value = AddValues(row.value, ValueAt(sample, 0));
    if (count_column) row.count = AddValues(row.count, ValueAt(sample, *count_column));
  }
  std::vector<TableRow> rows;
  for (auto& [key, row] : sums) rows.push_back(std::move(row));
  std::stable_sort(rows.begin(), rows.end(), [](const TableRow& a, const TableRow& b) {
    return a.value.value_or(0) > b.value.value_or(0);
  });
  if (rows.size() > kTableRows) rows.resize(kTableRows);
  return rows;
}

std::string RowHtml(const EventProfile& event, const TableRow& row, int64_t total) {
  const std::string_view unit = event.columns[0].unit;
  const int64_t value = row.value.value_or(0);
  std::string out = "<tr><td class=\"reason\">";
  out += row.reason.empty() ? "" : "[" + ShownHtml(row.reason) + "]";
  out += fmt::format("</td><td class=\"site\"><span class=\"name\">{}</span>", ShownHtml(row.site));
  if (!row.place.empty())
    out += fmt::format("<span class=\"place\">{}</span>", ShownHtml(row.place));
  out += fmt::format("</td><td class=\"number\">{}</td>",
                     row.value ? ShowValue(value, unit) : "not measured");
  if (CountColumn(event)) {
    out += fmt::format("<td class=\"number\">{}</td>",
                       row.count ? ShowValue(*row.count, "count") : "not measured");
  }
  if (row.never_ran) return out + "<td class=\"share\">never ran</td></tr>\n";
  const double percent =
      total > 0 ? 100.0 * static_cast<double>(value) / static_cast<double>(total) : 0;
  out += fmt::format(
      "<td class=\"share\"><svg aria-hidden=\"true\"><rect width=\"{:.1f}%\" "
      "height=\"100%\"/></svg>"
      "<span>{}</span></td></tr>\n",
      std::clamp(percent, 0.0, 100.0), ShowShare(value, total));
  return out;
}

// "83.4 s in 1,234"
std::string TotalText(const EventProfile& event) {
  std::string text = ShowValue(TotalOf(event, 0).value_or(0), event.columns[0].unit);
  if (event.columns[0].unit != "ns") text += " " + event.columns[0].name;
  const std::optional<size_t> count_column = CountColumn(event);
  if (!count_column) return text;
  const std::optional<int64_t> count = TotalOf(event, *count_column);
  if (count) text += fmt::format(" in {} samples", ShowValue(*count, "count"));
  return text;
}

std::string TableHtml(const Profile& profile, const EventProfile& event, size_t index) {
  std::string out = fmt::format("<section class=\"event\" id=\"event-{}\">\n<h2>{}", index,
                                ShownHtml(event.name));
  if (event.columns.empty() || event.samples.empty()) {
    return out + "</h2>\n<p>No samples.</p>\n</section>\n";
  }
  out += fmt::format(" <small>{}", ShownHtml(TotalText(event)));
  if (!event.mechanism.empty()) out += " &middot; by " + ShownHtml(event.mechanism);
  out += "</small></h2>\n<div class=\"wide\"><table>\n<thead><tr><th>Reason</th><th>Site</th>";
  out += fmt::format("<th class=\"number\">{}</th>", ShownHtml(event.columns[0].name));
  if (CountColumn(event)) out += "<th class=\"number\">count</th>";
  out += "<th>Share</th></tr></thead>\n<tbody>\n";
  std::optional<int64_t> total_that_ran;
  for (const ProfileSample& sample : event.samples) {
    if (!sample.never_ran) total_that_ran = AddValues(total_that_ran, ValueAt(sample, 0));
  }
  const int64_t total = total_that_ran.value_or(0);
  for (const TableRow& row : HeaviestRows(profile, event)) out += RowHtml(event, row, total);
  return out + "</tbody></table></div>\n</section>\n";
}

// ---- the data block

// Gives each distinct string one index.
class StringTable {
 public:
  uint32_t Add(const std::string& text) {
    return index_.try_emplace(text, static_cast<uint32_t>(index_.size())).first->second;
  }
  std::vector<std::string_view> InOrder() const {
    std::vector<std::string_view> texts(index_.size());
    for (const auto& [text, index] : index_) texts[index] = text;
    return texts;
  }

 private:
  std::map<std::string, uint32_t> index_;
};

// "[1,2,3]": `append(item, out)` writes each item. Trees have millions of numbers, so none becomes
// a string first.
template <typename Items, typename Append>
std::string ArrayJson(const Items& items, const Append& append) {
  std::string out = "[";
  for (const auto& item : items) {
    if (out.size() > 1) out += ',';
    append(item, out);
  }
  return out + "]";
}

template <typename Number>
void AppendNumber(Number number, std::string& out) {
  const fmt::format_int digits(number);
  out.append(digits.data(), digits.size());
}

std::string EventJson(const EventProfile& event, const FlameTree& tree) {
  std::string out = "{\"name\":" + QuoteScriptJson(PrintableName(event.name));
  out +=
      ",\"columns\":" + ArrayJson(event.columns, [&event](const Column& column, std::string& to) {
        to += fmt::format("[{},{},{}]", QuoteScriptJson(PrintableName(column.name)),
                          QuoteScriptJson(PrintableName(column.unit)),
                          QuoteScriptJson(PrintableName(WidthMeaning(event, column))));
      });
  out += ",\n\"depth\":" + ArrayJson(tree.nodes, [](const FlameTree::Node& node, std::string& to) {
           AppendNumber(node.depth, to);
         });
  out += ",\n\"frame\":" + ArrayJson(tree.nodes, [](const FlameTree::Node& node, std::string& to) {
           AppendNumber(node.frame, to);
         });
  out += ",\n\"leaf\":" + ArrayJson(tree.leaves, [](const FlameTree::Leaf& leaf, std::string& to) {
           AppendNumber(leaf.node, to);
         });
  out += ",\n\"values\":[";
  for (size_t column = 0; column < event.columns.size(); ++column) {
    if (column > 0) out += ',';
    out += ArrayJson(tree.leaves, [column](const FlameTree::Leaf& leaf, std::string& to) {
      if (leaf.values[column]) {
        AppendNumber(*leaf.values[column], to);
      } else {
        to += "null";
      }
    });
  }
  return out + "]}";
}

std::string DataJson(const Profile& profile) {
  const FlameGraph graph = MakeFlameGraph(profile);
  StringTable strings;
  const std::string frames =
      ArrayJson(graph.frames, [&strings](const FlameFrame& frame, std::string& to) {
        const uint32_t name = strings.Add(frame.name);
        to += fmt::format("{},{},{},{}", name, static_cast<int>(frame.kind),
                          strings.Add(frame.file), frame.line);
      });
  const auto quote = [](std::string_view text, std::string& to) { to += QuoteScriptJson(text); };
  std::string out = "{\"strings\":" + ArrayJson(strings.InOrder(), quote);
  out += ",\n\"frames\":" + frames + ",\n\"events\":[";
  for (size_t i = 0; i < profile.events.size(); ++i) {
    if (i > 0) out += ",\n";
    out += EventJson(profile.events[i], graph.trees[i]);
  }
  return out + "]}";
}

// Puts values in at {{NAME}}. What was put in is not searched again.
std::string Fill(std::string_view page, const std::map<std::string_view, std::string>& values) {
  std::string out;
  while (true) {
    const size_t open = page.find("{{");
    out += page.substr(0, open);
    if (open == std::string_view::npos) return out;
    page.remove_prefix(open);
    const size_t close = page.find("}}");
    const auto value =
        close == std::string_view::npos ? values.end() : values.find(page.substr(2, close - 2));
    if (value == values.end()) {
      out += "{{";
      page.remove_prefix(2);
    } else {
      out += value->second;
      page.remove_prefix(close + 2);
    }
  }
}

}  // namespace

std::string Html(const Profile& profile) {
  std::string tables;
  for (size_t i = 0; i < profile.events.size(); ++i) {
    tables += TableHtml(profile, profile.events[i], i);
  }
  return Fill(kPage, {{"TITLE", ShownHtml(TitleOf(profile.target)) + " - stallscope"},
                      {"HEADER", HeaderHtml(profile)},
                      {"TABLES", tables},
                      {"DATA", DataJson(profile)}});
}

}  // namespace stallscope
