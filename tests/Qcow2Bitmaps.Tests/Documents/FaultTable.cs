using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Documents;

/// <summary>Writes the values of an enumeration as a table: number, name, and what its documentation comment says.</summary>
internal static partial class FaultTable
{
    public static string Of<T>(string numberHead)
        where T : struct, Enum
    {
        XDocument comments = XDocument.Load(Path.Combine(AppContext.BaseDirectory, "Qcow2Bitmaps.xml"));
        var summaries = comments.Descendants("member").ToDictionary(
            static member => member.Attribute("name")!.Value, static member => member.Element("summary"), StringComparer.Ordinal);
        var text = new StringBuilder(
            string.Create(CultureInfo.InvariantCulture, $"| {numberHead} | `{typeof(T).Name}` | meaning |\n|---|---|---|\n"));
        foreach (T value in Enum.GetValues<T>().Order())
        {
            string key = $"F:{typeof(T).FullName}.{value}";
            XElement summary = summaries.GetValueOrDefault(key) ?? throw new InvalidDataException($"{key} has no documentation comment");
            text.Append(
                CultureInfo.InvariantCulture,
                $"| {Convert.ToInt32(value, CultureInfo.InvariantCulture)} | `{value}` | {Prose(summary)} |\n");
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
