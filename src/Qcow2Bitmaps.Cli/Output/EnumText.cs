using System.Text;

namespace Qcow2Bitmaps.Cli.Output;

/// <summary>Names of enumerations' members in the form for scripts: <c>MissingInTop</c> is <c>missing-in-top</c>.</summary>
internal static class EnumText
{
    public static string Of<T>(T value)
        where T : struct, Enum
    {
        var text = new StringBuilder();
        foreach (char c in value.ToString())
        {
            text.Append(char.IsAsciiLetterUpper(c) && text.Length > 0 ? "-" : "").Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
    }
}
