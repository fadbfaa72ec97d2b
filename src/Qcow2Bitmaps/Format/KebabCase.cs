using System.Text;

namespace Qcow2Bitmaps.Format;

/// <summary>Converts the name of an enumeration member to the form used in scripts: <c>MissingInTop</c> becomes
/// <c>missing-in-top</c>.</summary>
internal static class KebabCase
{
    public static string From(string name)
    {
        var text = new StringBuilder(name.Length + 8);
        foreach (char c in name)
        {
            if (char.IsAsciiLetterUpper(c) && text.Length > 0)
            {
                text.Append('-');
            }

            text.Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
    }
}
