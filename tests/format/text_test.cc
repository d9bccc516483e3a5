// SPDX-License-Identifier: Apache-2.0
#include "userspace/format/text.h"

#include <gtest/gtest.h>

namespace stallscope {
namespace {

TEST(ClipName, KeepsWhatFits) {
  EXPECT_EQ(ClipName("main.run"), "main.run");
  const std::string longest(kMaxNameBytes, 'x');
  EXPECT_EQ(ClipName(longest), longest);
}

TEST(ClipName, CutsAtACodePoint) {
  const std::string name = std::string(kMaxNameBytes - 1, 'x') + "\xc3\xa9 and more";
  EXPECT_EQ(ClipName(name), std::string(kMaxNameBytes - 1, 'x') + "\xe2\x80\xa6");
}

TEST(ClipName, IsBoundedForContinuationBytesAlone) {
  EXPECT_EQ(ClipName(std::string(1 << 20, '\x80')).size(), kMaxNameBytes);
}

TEST(PrintableName, KeepsUtf8) {
  const std::string name = "caf\xc3\xa9 \xe6\xb1\x89 \xf0\x9f\x98\x80 main.(*T[go.shape.int]).f";
  EXPECT_EQ(PrintableName(name), name);
}

TEST(PrintableName, ReplacesControls) {
  EXPECT_EQ(PrintableName(std::string_view("a\tb\nc\rd\0e\x1b[31m\x7f", 15)), "a b c d?e?[31m?");
  EXPECT_EQ(PrintableName("\xc2\x85|\xc2\x9f"), "?|?") << "C1";
  EXPECT_EQ(PrintableName("\xe2\x80\xa8|\xe2\x80\xa9"), "?|?") << "line and paragraph separators";
  EXPECT_EQ(PrintableName("\xe2\x80\xae|\xe2\x81\xa6|\xe2\x80\x8f"), "?|?|?") << "direction marks";
}

TEST(PrintableName, ReplacesWhatIsNotUtf8) {
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(PrintableName("\xff"), r);
  EXPECT_EQ(PrintableName("a\xc3"), "a" + r) << "cut short";
  EXPECT_EQ(PrintableName("\xc0\xaf"), r + r) << "overlong";
  EXPECT_EQ(PrintableName("\xe0\x80\xaf"), r + r + r) << "overlong";
  EXPECT_EQ(PrintableName("\xed\xa0\x80"), r + r + r) << "surrogate";
  EXPECT_EQ(PrintableName("\xf4\x90\x80\x80"), r + r + r + r) << "above U+10FFFF";
}

TEST(CutMiddle, KeepsWhatFits) {
  EXPECT_EQ(CutMiddle("main.run", 8), "main.run");
  EXPECT_EQ(CutMiddle("\xc3\xa9t\xc3\xa9", 3), "\xc3\xa9t\xc3\xa9");
  EXPECT_EQ(CutMiddle("", 0), "");
}

TEST(CutMiddle, KeepsTheEnds) {
  EXPECT_EQ(CutMiddle("abcdefghijkl", 7), "ab\xe2\x80\xa6ijkl");
  EXPECT_EQ(CutMiddle("abcdefghijkl", 1), "a");
  EXPECT_EQ(CutMiddle("a\xc3\xa9"
                      "cdefghijk\xc3\xa9",
                      7),
            "a\xc3\xa9\xe2\x80\xa6ijk\xc3\xa9");
  // Behind the last '/' is what tells most.
  EXPECT_EQ(CutMiddle("github.com/acme/shop/internal/orders.(*Client).Fetch", 34),
            "github.com\xe2\x80\xa6/orders.(*Client).Fetch");
  EXPECT_EQ(CutMiddle("github.com/acme/orders.(*Client).FetchAllOfThem", 34),
            "gi\xe2\x80\xa6orders.(*Client).FetchAllOfThem");
}

TEST(EscapeHtml, LeavesNoMarkup) {
  EXPECT_EQ(EscapeHtml("<a href='x' title=\"y\">&amp;"),
            "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;amp;");
}

TEST(QuoteScriptJson, CannotEndAScript) {
  EXPECT_EQ(QuoteScriptJson("</script><!--"), R"("\u003c/script\u003e\u003c!--")");
  EXPECT_EQ(QuoteScriptJson("a\"b\\c\n\x7f&"), R"("a\"b\\c\u000a\u007f\u0026")");
  EXPECT_EQ(QuoteScriptJson("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xa6"),
            "\"\\u2028\\u2029\xe2\x80\xa6\"");
}

}  // namespace
}  // namespace stallscope
