using System.Text;

namespace Qcow2Bitmaps.Format;

/// <summary>Turns the name of an enumeration's member into the form for scripts: <c>MissingInTop</c> is <c>missing-in-top</c>.</summary>
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
