namespace Qcow2Bitmaps.Cli.Options;

/// <summary>One option of <c>-o</c>.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">What its value is.</param>
/// <param name="Help">What it does, for <c>-o help</c>; null when it is not shown, being known only to be refused or ignored.</param>
/// <param name="Default">The value that is shown and used when none is given; null without one.</param>
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
