// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/go_table.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/symbolizer/go_test_program.h"

namespace stallscope::symbolizer {
namespace {

std::string TableBytes(int minor) {
  TestProgramOptions options;
  options.minor = minor;
  const TestProgram program = BuildTestProgram(SampleFunctions(minor), options);
  return program.bytes.substr(program.table_offset);
}

class GoTableOfVersion : public testing::TestWithParam<int> {};

TEST_P(GoTableOfVersion, FindsTheFunctionThatCoversAPlace) {
  const std::string bytes = TableBytes(GetParam());
  const absl::StatusOr<GoTable> table = GoTable::Parse(bytes);
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->function_count(), 7u);
  EXPECT_EQ(table->Name(table->FunctionAt(0)->name), "main.run");
  EXPECT_EQ(table->Name(table->FunctionAt(99)->name), "main.run");
  EXPECT_EQ(table->Name(table->FunctionAt(100)->name), "main.(*T).Do");
  EXPECT_EQ(table->FunctionAt(100)->end, 164u);
  EXPECT_FALSE(table->FunctionAt(table->code_end()).has_value());
  EXPECT_TRUE(table->FunctionAt(table->code_end() - 1).has_value());
}

TEST_P(GoTableOfVersion, ReadsARecordsParts) {
  const std::string bytes = TableBytes(GetParam());
  const absl::StatusOr<GoTable> table = GoTable::Parse(bytes);
  ASSERT_TRUE(table.ok());
  StepBudget budget(1000);
  const GoFunctionRecord run = *table->FunctionAt(0);
  EXPECT_EQ(table->PcValue(run.pcline, 0, budget), 7);
  EXPECT_EQ(table->PcValue(run.pcline, 10, budget), 31);
  EXPECT_EQ(table->PcValue(run.pcline, 99, budget), 9);
  EXPECT_EQ(table->PcValue(run.pcline, 100, budget), std::nullopt);
  EXPECT_EQ(table->PcValue(run.pcsp, 50, budget), 56);
  EXPECT_EQ(table->File(run.unit, 0), "/src/main.go");
  EXPECT_EQ(table->File(run.unit, 1u << 30), "");
  EXPECT_EQ(table->GreatestPcValue(table->PcData(run, GoTable::kInlineIndexTable), budget), 1);
  EXPECT_EQ(table->PcData(run, 3), 0u);
  EXPECT_EQ(table->FuncData(run, 0), std::nullopt);
  EXPECT_EQ(table->FuncData(run, GoTable::kInlineTree), 0u);
  EXPECT_EQ(table->FuncData(run, 4), std::nullopt);
  const GoFunctionRecord mcall = *table->Function(5);
  EXPECT_EQ(table->Name(mcall.name), "runtime.mcall");
  EXPECT_EQ(mcall.flags, GoFunctionRecord::kAssembly | GoFunctionRecord::kWritesSp);
}

INSTANTIATE_TEST_SUITE_P(Versions, GoTableOfVersion, testing::Values(18, 20, 26, 27));

TEST(GoTable, KnowsWhereNamesStart) {
  const std::string bytes = TableBytes(19);
  const absl::StatusOr<GoTable> table = GoTable::Parse(bytes);
  ASSERT_TRUE(table.ok());
  const uint32_t name = table->FunctionAt(0)->name;
  EXPECT_TRUE(table->NameStartsAt(name));
  EXPECT_FALSE(table->NameStartsAt(name + 1));
  EXPECT_FALSE(table->NameStartsAt(~0u));
}

TEST(GoTable, StopsWhenTheBudgetIsSpent) {
  const std::string bytes = TableBytes(19);
  const absl::StatusOr<GoTable> table = GoTable::Parse(bytes);
  ASSERT_TRUE(table.ok());
  StepBudget budget(3);
  EXPECT_EQ(table->PcValue(table->FunctionAt(0)->pcline, 99, budget), std::nullopt);
}

TEST(GoTable, RefusesOlderFormatsByName) {
  std::string bytes = TableBytes(19);
  bytes[0] = '\xfa';
  EXPECT_EQ(GoTable::Parse(bytes).status().code(), absl::StatusCode::kUnimplemented);
  bytes[0] = '\xfb';
  EXPECT_EQ(GoTable::Parse(bytes).status().code(), absl::StatusCode::kUnimplemented);
  bytes[0] = '\xfc';
  EXPECT_EQ(GoTable::Parse(bytes).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GoTable, RefusesOtherPointerSizes) {
  std::string bytes = TableBytes(19);
  bytes[7] = 4;
  EXPECT_EQ(GoTable::Parse(bytes).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GoTable, ARecordThatContradictsItsPlaceIsNoFunction) {
  std::string bytes = TableBytes(19);
  const absl::StatusOr<GoTable> whole = GoTable::Parse(bytes);
  ASSERT_TRUE(whole.ok());
  ASSERT_TRUE(whole->Function(1).has_value());
  bytes[whole->functions_offset() + 8] ^= 1;  // the second function's entry
  const absl::StatusOr<GoTable> damaged = GoTable::Parse(bytes);
  ASSERT_TRUE(damaged.ok());
  EXPECT_FALSE(damaged->Function(1).has_value());
  EXPECT_TRUE(damaged->Function(2).has_value());
}

TEST(GoTable, CutAnywhereItNamesLessButNothingElse) {
  const std::string bytes = TableBytes(21);
  const absl::StatusOr<GoTable> whole = GoTable::Parse(bytes);
  ASSERT_TRUE(whole.ok());
  int parsed = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    const absl::StatusOr<GoTable> table = GoTable::Parse(cut);
    if (!table.ok()) continue;
    ++parsed;
    for (uint64_t index = 0; index < whole->function_count(); ++index) {
      const auto function = table->Function(index);
      if (!function) continue;
      EXPECT_EQ(table->Name(function->name), whole->Name(whole->Function(index)->name));
    }
  }
  EXPECT_GT(parsed, 100);
}

}  // namespace
}  // namespace stallscope::symbolizer
