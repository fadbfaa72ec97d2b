namespace Qcow2Bitmaps.Cli.Options;

/// <summary>One option of <c>-o</c>.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">What its value is.</param>
/// <param name="Help">Its description for <c>-o help</c>; null if it is hidden because it is only refused or ignored.</param>
/// <param name="Default">The value shown and used if none is given; null if there is none.</param>
internal sealed record OptionDescription(string Name, OptionKind Kind, string? Help, string? Default = null)
{
    /// <summary>The line of <c>-o help</c>, as qemu-img prints it.</summary>
    public string HelpLine
    {
        get
        {
            string kind = Kind switch
            {
                OptionKind.Boolean => "bool (on/off)",
                OptionKind.Number => "num",
                OptionKind.Size => "size",
                _ => "str",
            };
            return $"  {$"{Name}=<{kind}>",-22} - {Help}";
        }
    }
}
