using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Writes the values of an enumeration as a table: what tells them, and what the documentation comments say.</summary>
internal static partial class FaultTable
{
    /// <summary>The faults by the ids that users see.</summary>
    public static string OfFaults() => Of<FaultCode>(
        "| id | meaning |\n|---|---|\n",
        static code => code == FaultCode.None ? null : $"| `{KebabCase.From(code.ToString())}` |");

    public static string OfReasons() => Of<UnsupportedReason>(
        "| id | meaning |\n|---|---|\n", static reason => $"| `{KebabCase.From(reason.ToString())}` |");

    private static string Of<T>(string head, Func<T, string?> row)
        where T : struct, Enum
    {
        XDocument comments = XDocument.Load(Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.xml"));
        var summaries = comments.Descendants("member").ToDictionary(
            static member => member.Attribute("name")!.Value, static member => member.Element("summary"), StringComparer.Ordinal);
        var text = new StringBuilder(head);
        foreach (T value in Enum.GetValues<T>().Order())
        {
            string key = $"F:{typeof(T).FullName}.{value}";
            XElement summary = summaries.GetValueOrDefault(key) ?? throw new InvalidDataException($"{key} has no documentation comment");
            if (row(value) is { } start)
            {
                text.Append(CultureInfo.InvariantCulture, $"{start} {Prose(summary)} |\n");
            }
        }

        return text.ToString();
    }

    private static string Prose(XElement summary)
    {
        string text = string.Concat(summary.Nodes().Select(static node => node switch
        {
            XElement { Name.LocalName: "c" } code => $"`{code.Value}`",
            XElement { Name.LocalName: "see" } see => $"`{see.Attribute("cref")?.Value.Split('.')[^1]}`",
            XElement element => element.Value,
            _ => node.ToString(),
        }));
        return WhiteSpace().Replace(text, " ").Trim().Replace("|", "\\|", StringComparison.Ordinal);
    }

    [GeneratedRegex(@"\s+", RegexOptions.None, Patience.PatternMilliseconds)]
    private static partial Regex WhiteSpace();
}
