// SPDX-License-Identifier: Apache-2.0
#include "symbolizer/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "symbolizer/go_binary.h"
#include "symbolizer/module_cache.h"
#include "tests/symbolizer/self_image.h"

// Code whose symbols we choose. A function of 4 bytes, 12 bytes that no symbol covers, one without
// a size, its end.
asm(R"(
  .text
  .balign 16
  .type sized_function, @function
sized_function:
  .skip 4, 0x90
  .size sized_function, 4
  .skip 12, 0x90
  .type unsized_function, @function
unsized_function:
  .skip 8, 0x90
  .type after_unsized, @function
after_unsized:
  ret
  .size after_unsized, 1
  .type outer_function, @function
outer_function:
  .skip 4, 0x90
  .type inner_function, @function
inner_function:
  .skip 4, 0x90
  .size inner_function, 4
  .skip 4, 0x90
  .size outer_function, 12
  .globl global_alias, weak_alias, __underscored_alias
  .weak weak_alias
  .type local_alias, @function
  .type global_alias, @function
  .type weak_alias, @function
  .type __underscored_alias, @function
local_alias:
weak_alias:
__underscored_alias:
global_alias:
  .skip 4, 0x90
  .size local_alias, 4
  .size global_alias, 4
  .size weak_alias, 4
  .size __underscored_alias, 4
)");
extern "C" const char sized_function[], unsized_function[], after_unsized[], outer_function[],
    global_alias[];

namespace shop {
template <typename T>
struct Till {
  __attribute__((noinline)) static uintptr_t Return() {
    return reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  }
};
__attribute__((noinline)) uintptr_t Sell(int, const char*) {
  const uintptr_t result = Till<int>::Return();
  asm volatile("" ::: "memory");  // no tail call: the return address is in this function
  return result;
}
}  // namespace shop

namespace stallscope::symbolizer {
namespace {

std::shared_ptr<const Module> OpenSelf() {
  auto module = Module::Open({"/proc/self/exe", "/test", ""});
  EXPECT_TRUE(module.ok()) << module.status().ToString();
  return *module;
}

std::string NameAt(const Module& module, uint64_t file_offset, bool is_return = false) {
  const std::vector<Frame> frames = module.Lookup(file_offset, is_return);
  return frames.empty() ? "" : frames.back().function;
}

std::string NameOf(const void* address) {
  return NameAt(*OpenSelf(), PlaceOf(reinterpret_cast<uintptr_t>(address)).file_offset);
}

TEST(ModuleLookup, NamesFunctionsAsTheLanguageDoes) {
  EXPECT_EQ(NameOf(reinterpret_cast<void*>(&shop::Sell)), "shop::Sell(int, char const*)");
}

TEST(ModuleLookup, NamesTheCallOfAReturnAddress) {
  const auto module = OpenSelf();
  const uint64_t offset = PlaceOf(shop::Sell(1, "")).file_offset;
  EXPECT_EQ(NameAt(*module, offset, true), "shop::Sell(int, char const*)");
  EXPECT_TRUE(module->FollowsCall(offset));
}

TEST(ModuleLookup, ASymbolEndsWhereItsSizeEnds) {
  EXPECT_EQ(NameOf(sized_function), "sized_function");
  EXPECT_EQ(NameOf(sized_function + 3), "sized_function");
  EXPECT_EQ(NameOf(sized_function + 4), "");
  EXPECT_EQ(NameOf(sized_function + 15), "");
}

TEST(ModuleLookup, AnUnsizedFunctionReachesToTheNextSymbol) {
  EXPECT_EQ(NameOf(unsized_function), "unsized_function");
  EXPECT_EQ(NameOf(unsized_function + 7), "unsized_function");
  EXPECT_EQ(NameOf(after_unsized), "after_unsized");
}

TEST(ModuleLookup, TheInnermostOfNestedSymbolsNames) {
  EXPECT_EQ(NameOf(outer_function + 3), "outer_function");
  EXPECT_EQ(NameOf(outer_function + 4), "inner_function");
  EXPECT_EQ(NameOf(outer_function + 7), "inner_function");
  EXPECT_EQ(NameOf(outer_function + 8), "outer_function");
  EXPECT_EQ(NameOf(outer_function + 11), "outer_function");
}

TEST(ModuleLookup, OfAliasesTheGlobalPlainOneNames) {
  EXPECT_EQ(NameOf(global_alias), "global_alias");
}

TEST(ModuleLookup, DynamicSymbolsNameWithAndWithoutASectionTable) {
  const Place place = PlaceOf(reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "getppid")));
  ASSERT_NE(place.path, "");
  const std::string bytes = ReadFile(place.path);
  for (const std::string& variant : {bytes, WithoutSectionTable(bytes)}) {
    const auto module = Module::FromBytes(variant, {"", place.path, "/nonexistent"});
    ASSERT_TRUE(module.ok());
    EXPECT_EQ(NameAt(**module, place.file_offset), "getppid");
    EXPECT_TRUE((*module)->RuleAt(place.file_offset, false).has_value());
  }
}

TEST(ModuleLookup, NamesTheVdso) {
  const char* vdso = reinterpret_cast<const char*>(getauxval(AT_SYSINFO_EHDR));
  if (vdso == nullptr) GTEST_SKIP() << "the kernel gives this process no vDSO";
  const uint64_t size = 2 * static_cast<uint64_t>(getpagesize());
  const std::string bytes(vdso, size);
  const auto module = Module::FromBytes(bytes, {"", "[vdso]", ""});
  ASSERT_TRUE(module.ok()) << module.status().ToString();
  std::vector<std::string> names;
  for (uint64_t offset = 0; offset < size; offset += 16) names.push_back(NameAt(**module, offset));
  EXPECT_THAT(names, testing::Contains(testing::HasSubstr("clock_gettime")));
}

TEST(ModuleOpen, RefusesWhatIsNoElfFile) {
  EXPECT_FALSE(Module::Open({"/etc/passwd", "", ""}).ok());
  EXPECT_FALSE(Module::Open({"/nonexistent", "", ""}).ok());
  EXPECT_FALSE(Module::Open({"/dev/zero", "", ""}).ok());
  EXPECT_FALSE(Module::FromBytes("", {"", "", ""}).ok());
  EXPECT_FALSE(Module::FromBytes("\x7f"
                                 "ELF",
                                 {"", "", ""})
                   .ok());
}

TEST(ModuleOpen, CutFilesGiveFewerNames) {
  const std::string bytes = ReadFile("/proc/self/exe");
  const Place place = PlaceOf(&shop::Sell);
  for (size_t size = 64; size < bytes.size(); size += bytes.size() / 50) {
    const auto module = Module::FromBytes(bytes.substr(0, size), {"", "cut", "/nonexistent"});
    if (!module.ok()) continue;
    const std::string name = NameAt(**module, place.file_offset);
    EXPECT_TRUE(name.empty() || name == "shop::Sell(int, char const*)") << name;
  }
}

TEST(ModulePlaces, OffsetsAndAddressesAreInverse) {
  const auto module = OpenSelf();
  const uint64_t offset = PlaceOf(&shop::Sell).file_offset;
  const std::optional<uint64_t> address = module->FileOffsetToAddress(offset);
  ASSERT_TRUE(address);
  EXPECT_EQ(module->AddressToFileOffset(*address), offset);
  EXPECT_EQ(module->FileOffsetToAddress(uint64_t{1} << 60), std::nullopt);
}

TEST(ModuleFollowsCall, OnlyInExecutableBytes) {
  const auto module = OpenSelf();
  EXPECT_FALSE(module->FollowsCall(0));
  EXPECT_FALSE(module->FollowsCall(uint64_t{1} << 60));
  EXPECT_FALSE(module->FollowsCall(PlaceOf(sized_function + 2).file_offset));
}

TEST(ModuleBuildId, IsHex) {
  EXPECT_THAT(OpenSelf()->build_id(), testing::MatchesRegex("[0-9a-f]{40}"));
}

// Separate debug files.
class DebugFileTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v objcopy >/dev/null") != 0)
      GTEST_SKIP() << "objcopy is not installed";
    std::string pattern = testing::TempDir() + "/debug_file_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    const std::string exe = std::filesystem::read_symlink("/proc/self/exe");
    stripped_ = root_ + "/usr/bin/target";
    std::filesystem::create_directories(root_ + "/usr/bin/.debug");
    Run("objcopy --strip-all " + exe + " " + stripped_);
    debug_ = root_ + "/whole.debug";
    Run("objcopy --only-keep-debug " + exe + " " + debug_);
    const std::string id = OpenSelf()->build_id();
    ASSERT_GT(id.size(), 4u);
    by_build_id_ =
        root_ + "/usr/lib/debug/.build-id/" + id.substr(0, 2) + "/" + id.substr(2) + ".debug";
    std::filesystem::create_directories(std::filesystem::path(by_build_id_).parent_path());
  }
  void TearDown() override {
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::string NameWithDebugRoot() const {
    const auto module = Module::Open({stripped_, "/usr/bin/target", root_});
    return module.ok() ? NameAt(**module, PlaceOf(sized_function).file_offset)
                       : module.status().ToString();
  }
  std::string root_, stripped_, debug_, by_build_id_;
};

TEST_F(DebugFileTest, WithoutOneThereIsNoName) { EXPECT_EQ(NameWithDebugRoot(), ""); }

TEST_F(DebugFileTest, IsFoundByBuildId) {
  std::filesystem::copy(debug_, by_build_id_);
  EXPECT_EQ(NameWithDebugRoot(), "sized_function");
}

TEST_F(DebugFileTest, ALinkInsideTheRootIsFollowedAsTheTargetWould) {
  std::filesystem::create_symlink("/whole.debug", by_build_id_);
  EXPECT_EQ(NameWithDebugRoot(), "sized_function");
}

TEST_F(DebugFileTest, ALinkDoesNotLeaveTheRoot) {
  const std::string outside = root_ + ".outside";
  std::filesystem::copy(debug_, outside);
  std::filesystem::create_symlink(outside, by_build_id_);
  EXPECT_EQ(NameWithDebugRoot(), "");
  std::filesystem::remove(outside);
}

TEST_F(DebugFileTest, AFifoIsNotOpened) {
  ASSERT_EQ(mkfifo(by_build_id_.c_str(), 0600), 0);
  EXPECT_EQ(NameWithDebugRoot(), "");  // and it returns
}

TEST_F(DebugFileTest, ADebugLinkCountsOnlyWithItsChecksum) {
  Run("objcopy --remove-section=.note.gnu.build-id --add-gnu-debuglink=" + debug_ + " " +
      stripped_);
  const std::string beside = root_ + "/usr/bin/.debug/whole.debug";
  std::filesystem::copy(debug_, beside);
  EXPECT_EQ(NameWithDebugRoot(), "sized_function");
  std::ofstream(beside, std::ios::app) << "x";
  EXPECT_EQ(NameWithDebugRoot(), "");
}

// The cache.
TEST(ModuleCache, OneModuleForOneFile) {
  ModuleCache cache;
  const std::string exe = std::filesystem::read_symlink("/proc/self/exe");
  const auto a = cache.Get({"/proc/self/exe", "/a", ""}), b = cache.Get({exe, "/b", ""});
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->get(), b->get());
  EXPECT_FALSE(cache.Get({"/etc/passwd", "", ""}).ok());
  EXPECT_FALSE(cache.Get({"/etc/passwd", "", ""}).ok());
}

TEST(ModuleCache, StaysWithinItsLimitByForgettingTheLeastRecentlyUsed) {
  ModuleCache cache(/*limit_bytes=*/1);
  const std::string libc =
      PlaceOf(reinterpret_cast<uintptr_t>(dlsym(RTLD_DEFAULT, "getppid"))).path;
  const auto first = cache.Get({"/proc/self/exe", "", ""});
  const auto again = cache.Get({"/proc/self/exe", "", ""});
  EXPECT_EQ(first->get(), again->get());  // what is in use stays, however large
  ASSERT_TRUE(cache.Get({libc, "", ""}).ok());
  EXPECT_NE(first->get(), cache.Get({"/proc/self/exe", "", ""})->get());
}

TEST(MappedFile, ReadsAsDamagedWhenItsOwnerCutsIt) {
  const std::string path = testing::TempDir() + "/cut_while_mapped";
  std::filesystem::copy(std::filesystem::read_symlink("/proc/self/exe"), path,
                        std::filesystem::copy_options::overwrite_existing);
  const auto module = Module::Open({path, path, "/nonexistent"});
  ASSERT_TRUE(module.ok());
  std::filesystem::resize_file(path, 4096);
  EXPECT_EQ(NameAt(**module, PlaceOf(sized_function).file_offset), "");  // and no SIGBUS
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace stallscope::symbolizer
